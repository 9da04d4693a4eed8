//! Instants as the API writes them.

use jiff::Timestamp;

/// `metav1.Time`: RFC 3339, whole seconds.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: RFC 3339 with six digits.
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The first instant that is not before `at` and a multiple of so many seconds since the epoch.
pub fn next_multiple(at: Timestamp, seconds: i64) -> Timestamp {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    let rest = second.rem_euclid(seconds);
    Timestamp::from_second(if rest == 0 { second } else { second.saturating_add(seconds - rest) }).unwrap_or(Timestamp::MAX)
}
