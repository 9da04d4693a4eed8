//! Kubernetes quantities: `100m`, `1Gi`, `1e3`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource/quantity.go`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// An exact amount in billionths (nano), so that every suffix of the API fits without rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nano: i128,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity: write a number with an optional suffix, such as 500m, 2, 1.5Gi or 20G")]
pub struct ParseQuantityError(pub String);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    pub fn from_milli(milli: i64) -> Self {
        Quantity { nano: i128::from(milli) * 1_000_000 }
    }

    pub fn from_units(units: i64) -> Self {
        Quantity { nano: i128::from(units) * NANO }
    }

    /// Thousandths, rounded up, clamped to `i64`.
    pub fn milli_ceil(&self) -> i64 {
        clamp(div_ceil(self.nano, 1_000_000))
    }

    /// Whole units, rounded up, clamped to `i64`.
    pub fn ceil(&self) -> i64 {
        clamp(div_ceil(self.nano, NANO))
    }

    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }
}

fn div_ceil(nano: i128, by: i128) -> i128 {
    nano.div_euclid(by) + i128::from(nano.rem_euclid(by) != 0)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseQuantityError(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let (factor, divisor) = scale(suffix)?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Beyond eighteen digits a fraction cannot change a nano amount of any suffix up to Ei by more than rounding.
    let kept = &fraction[..fraction.len().min(18)];
    let part: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let ten = 10i128.checked_pow(u32::try_from(kept.len()).ok()?)?;
    let nano = whole.checked_mul(NANO)?.checked_mul(factor)?.checked_add(div_ceil(part.checked_mul(NANO)?.checked_mul(factor)?, ten))?;
    Some(Quantity { nano: sign * div_ceil(nano, divisor) })
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let ten = |power: u32| 10i128.pow(power);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (ten(3), 1),
        "M" => (ten(6), 1),
        "G" => (ten(9), 1),
        "T" => (ten(12), 1),
        "P" => (ten(15), 1),
        "E" => (ten(18), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match power {
                0..=18 => (ten(power.unsigned_abs()), 1),
                -18..0 => (1, ten(power.unsigned_abs())),
                _ => return None,
            }
        }
    })
}

impl fmt::Display for Quantity {
    /// Whole amounts plain (or in exact binary units), others in `m`, `u` or `n`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(1i128 << 60, "Ei"), (1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")] {
            if self.nano != 0 && self.nano % (unit * NANO) == 0 {
                return write!(f, "{}{suffix}", self.nano / (unit * NANO));
            }
        }
        for (unit, suffix) in [(NANO, ""), (1_000_000, "m"), (1_000, "u"), (1, "n")] {
            if self.nano % unit == 0 {
                return write!(f, "{}{suffix}", self.nano / unit);
            }
        }
        Ok(())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Whole(i64),
            Real(f64),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Text(text) => text,
            Raw::Whole(number) => number.to_string(),
            Raw::Real(number) => number.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1", 1000, 1)]
    #[case("100m", 100, 1)]
    #[case("1.5", 1500, 2)]
    #[case("1Gi", 1_073_741_824_000, 1 << 30)]
    #[case("0.5Gi", 536_870_912_000, 1 << 29)]
    #[case("2e3", 2_000_000, 2000)]
    #[case("20G", 20_000_000_000_000, 20_000_000_000)]
    #[case("1n", 1, 1)]
    #[case("-3", -3000, -3)]
    #[case(".5", 500, 1)]
    fn reads_what_the_api_accepts(#[case] text: &str, #[case] milli: i64, #[case] units: i64) {
        let quantity: Quantity = text.parse().unwrap();
        assert_eq!((quantity.milli_ceil(), quantity.ceil()), (milli, units));
        assert_eq!(quantity.to_string().parse::<Quantity>().unwrap(), quantity);
    }

    #[rstest]
    #[case("")]
    #[case("1Gb")]
    #[case("Mi")]
    #[case("1.2.3")]
    #[case("e5")]
    #[case("1 Gi")]
    #[case("99999999999999999999")]
    fn refuses_the_rest(#[case] text: &str) {
        assert!(text.parse::<Quantity>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
