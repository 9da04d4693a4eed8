//! Durations as the API writes them: `720h`, `30s`, `1h30m`, `Never`.

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration or `Never`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NillableDuration {
    /// `None` is `Never`.
    pub duration: Option<SignedDuration>,
    /// The text as written, which is what is hashed and shown.
    pub raw: String,
}

impl NillableDuration {
    pub fn parse(text: &str) -> Option<Self> {
        let duration = if text == "Never" { None } else { Some(parse_go(text)?) };
        Some(NillableDuration { duration, raw: text.to_owned() })
    }
}

impl Serialize for NillableDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.raw)
    }
}

impl<'de> Deserialize<'de> for NillableDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        NillableDuration::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is neither a duration such as 30s or 720h nor Never")))
    }
}

/// As Go prints it: `1m30s`, `2h0m0s`, `530.3ms`.
pub fn print_go(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let (sign, nanos) = if nanos < 0 { ("-", -nanos) } else { ("", nanos) };
    let (hours, minutes, rest) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60, nanos % 60_000_000_000);
    let decimal = |value: i128, unit: i128| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let seconds = format!("{}s", decimal(rest, 1_000_000_000));
    match (hours, minutes) {
        (0, 0) if nanos == 0 => "0s".to_owned(),
        (0, 0) if nanos < 1_000 => format!("{sign}{nanos}ns"),
        (0, 0) if nanos < 1_000_000 => format!("{sign}{}µs", decimal(nanos, 1_000)),
        (0, 0) if nanos < 1_000_000_000 => format!("{sign}{}ms", decimal(nanos, 1_000_000)),
        (0, 0) => format!("{sign}{seconds}"),
        (0, _) => format!("{sign}{minutes}m{seconds}"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

/// Go's `time.ParseDuration`: numbers with fraction and units `ns`, `us`, `ms`, `s`, `m`, `h`, added up.
pub fn parse_go(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 12 || fraction.len() > 12 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 =
            if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? * scale / 10i128.pow(u32::try_from(fraction.len()).ok()?) };
        nanos = nanos.checked_add(whole.checked_mul(scale)?.checked_add(part)?)?;
        rest = tail;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("30s", Some(30))]
    #[case("720h", Some(720 * 3600))]
    #[case("1h30m", Some(5400))]
    #[case("1.5h", Some(5400))]
    #[case("0", Some(0))]
    #[case("", None)]
    #[case("5", None)]
    #[case("5d", None)]
    #[case("s", None)]
    fn reads_go_durations(#[case] text: &str, #[case] seconds: Option<i64>) {
        assert_eq!(parse_go(text).map(|d| d.as_secs()), seconds);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse_go(&text);
        }
    }
}
