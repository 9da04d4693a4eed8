//! Values with units, as a scenario writes them: `90s`, `25s..45s`, `+5s`, `$0.096`.

use super::given::Span;
use jiff::SignedDuration;
use vocabulary::UsdPerHour;

pub fn duration(text: &str) -> Result<SignedDuration, String> {
    api::duration::parse_go(text.trim())
        .filter(|d| !d.is_negative())
        .ok_or_else(|| "write a time with its unit, such as 90s, 5m or 1h30m".to_owned())
}

/// `25s..45s`, or `30s` for no spread.
pub fn span(text: &str) -> Result<Span, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (duration(low)?, duration(high)?);
    if low > high {
        return Err("the first time must not be longer than the second".to_owned());
    }
    Ok(Span { low, high })
}

pub fn money(text: &str) -> Result<UsdPerHour, String> {
    text.strip_prefix('$')
        .and_then(|digits| digits.parse::<f64>().ok())
        .filter(|dollars| *dollars >= 0.0)
        .and_then(UsdPerHour::new)
        .ok_or_else(|| "write a price per hour in dollars, such as $0.096".to_owned())
}

/// `x4` or `x0.5`.
pub fn factor(text: &str) -> Result<f64, String> {
    text.strip_prefix('x')
        .and_then(|digits| digits.parse::<f64>().ok())
        .filter(|f| f.is_finite() && *f > 0.0)
        .ok_or_else(|| "write a factor such as x4".to_owned())
}
