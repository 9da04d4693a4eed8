//! Numbers, booleans and timestamps between text, JSON and the seam's values.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

use crate::model::Kind;

/// The seam's form of an instant: RFC 3339 in UTC, to the millisecond (`2026-11-20T17:00:00.000Z`).
pub fn timestamp(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// An instant as HTTP writes it (`Fri, 20 Nov 2026 17:00:00 GMT`).
pub fn http_date(instant: Timestamp) -> String {
    instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A scalar of a form, a query string or a path; the error is what was wanted.
pub(super) fn from_text(kind: &Kind, text: &str) -> Result<Value, &'static str> {
    match kind {
        Kind::Text | Kind::Blob => Ok(Value::from(text)),
        Kind::Integer => text.parse::<i32>().map(Value::from).map_err(|_| "integer"),
        Kind::Long => text.parse::<i64>().map(Value::from).map_err(|_| "long"),
        Kind::Number => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number).ok_or("number"),
        Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        Kind::Boolean => Err("boolean"),
        Kind::Timestamp => instant(text).map(|at| Value::from(timestamp(at))).ok_or("timestamp"),
        Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. } => Err("structure"),
    }
}

/// A scalar of JSON; the error is what was wanted.
pub(super) fn from_json(kind: &Kind, value: &Value) -> Result<Value, &'static str> {
    match (kind, value) {
        (Kind::Text | Kind::Blob, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => Ok(value.clone()),
        (Kind::Text | Kind::Blob, _) => Err("string"),
        (Kind::Boolean, _) => Err("boolean"),
        (Kind::Integer, _) => value.as_i64().filter(|number| i32::try_from(*number).is_ok()).map(Value::from).ok_or("integer"),
        (Kind::Long, _) => value.as_i64().map(Value::from).ok_or("long"),
        (Kind::Number, Value::Number(_)) => Ok(value.clone()),
        (Kind::Number, _) => Err("number"),
        (Kind::Timestamp, _) => value.as_f64().and_then(epoch).map(|at| Value::from(timestamp(at))).ok_or("timestamp"),
        (Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. }, _) => Err("structure"),
    }
}

/// An instant as clients write it in forms: with a zone, or in UTC without one, or a day.
fn instant(text: &str) -> Option<Timestamp> {
    let with_zone = text.parse::<Timestamp>().ok();
    with_zone.or_else(|| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()))
}

/// Seconds since 1970, with a fraction, to the millisecond.
fn epoch(seconds: f64) -> Option<Timestamp> {
    let millis = (seconds * 1000.0).round();
    // Beyond what jiff can hold the cast saturates, and the conversion refuses.
    #[allow(clippy::cast_possible_truncation)]
    let millis = millis as i64;
    Timestamp::from_millisecond(millis).ok()
}

/// The seam's instant without its fraction, as IAM and STS write it (`2026-11-20T17:00:00Z`).
pub(super) fn whole_seconds(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(instant) => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// The seam's instant as JSON's number of seconds: whole where it can be.
pub(super) fn to_epoch(text: &str) -> Option<Value> {
    let millis = text.parse::<Timestamp>().ok()?.as_millisecond();
    if millis % 1000 == 0 {
        return Some(Value::from(millis / 1000));
    }
    // Exact to the millisecond for any year that jiff knows.
    #[allow(clippy::cast_precision_loss)]
    let seconds = millis as f64 / 1000.0;
    Number::from_f64(seconds).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(Kind::Integer, "12", Ok(json!(12)))]
    #[case(Kind::Integer, "2147483648", Err("integer"))]
    #[case(Kind::Integer, "1.0", Err("integer"))]
    #[case(Kind::Integer, "", Err("integer"))]
    #[case(Kind::Long, "2147483648", Ok(json!(2_147_483_648_i64)))]
    #[case(Kind::Boolean, "TRUE", Ok(json!(true)))]
    #[case(Kind::Boolean, "1", Err("boolean"))]
    #[case(Kind::Number, "0.5", Ok(json!(0.5)))]
    #[case(Kind::Number, "NaN", Err("number"))]
    #[case(Kind::Timestamp, "2026-11-20T17:00:00Z", Ok(json!("2026-11-20T17:00:00.000Z")))]
    #[case(Kind::Timestamp, "2026-11-20T18:00:00.5+01:00", Ok(json!("2026-11-20T17:00:00.500Z")))]
    #[case(Kind::Timestamp, "2026-11-20", Ok(json!("2026-11-20T00:00:00.000Z")))]
    #[case(Kind::Timestamp, "yesterday", Err("timestamp"))]
    fn text_is_read_strictly(#[case] kind: Kind, #[case] text: &str, #[case] expected: Result<Value, &'static str>) {
        assert_eq!(from_text(&kind, text), expected);
    }

    #[rstest]
    #[case(Kind::Integer, json!(1.5), Err("integer"))]
    #[case(Kind::Integer, json!("1"), Err("integer"))]
    #[case(Kind::Timestamp, json!(1_763_658_000.25), Ok(json!("2025-11-20T17:00:00.250Z")))]
    #[case(Kind::Timestamp, json!(1e300), Err("timestamp"))]
    #[case(Kind::Text, json!(1), Err("string"))]
    fn json_is_read_strictly(#[case] kind: Kind, #[case] value: Value, #[case] expected: Result<Value, &'static str>) {
        assert_eq!(from_json(&kind, &value), expected);
    }

    #[test]
    fn instants_become_seconds_whole_where_they_can_be() {
        assert_eq!(to_epoch("2025-11-20T17:00:00.250Z"), Some(json!(1_763_658_000.25)));
        assert_eq!(to_epoch("2025-11-20T17:00:00.000Z"), Some(json!(1_763_658_000)));
    }
}
