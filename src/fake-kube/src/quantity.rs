//! `resource.Quantity`: reading, canonical form, comparison.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource/quantity.go` and `suffix.go`. Held exactly, in nano units; what is finer is rounded
//! up, as there. What is too large is capped at 2^63-1 whole units.

/// A quantity: a number of nano units and the family of suffixes that it is written with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// Why a text is no quantity, in the API's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadQuantity {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANO: i128 = 1_000_000_000;
const MOST: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn parse(text: &str) -> Result<Quantity, BadQuantity> {
        let digits_end = text
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || c == '.' || (at == 0 && (c == '+' || c == '-'))))
            .map_or(text.len(), |(at, _)| at);
        let (number, suffix) = text.split_at(digits_end);
        let unsigned = number.trim_start_matches(['+', '-']);
        if unsigned.is_empty() || !suffix_form(suffix) {
            return Err(BadQuantity::Form);
        }
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(BadQuantity::Form);
        }
        let (format, base, exponent) = suffix_of(suffix).ok_or(BadQuantity::Suffix)?;
        let digits = format!("{whole}{fraction}");
        let nanos = scale(&digits, fraction.len(), base, exponent);
        let nanos = if number.starts_with('-') { -nanos } else { nanos };
        Ok(Quantity { nanos: nanos.clamp(-MOST, MOST), format })
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        div_up(self.nanos, NANO) as i64
    }

    /// Thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        div_up(self.nanos, 1_000_000).clamp(i64::MIN as i128, i64::MAX as i128) as i64
    }

    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<std::cmp::Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-MOST, MOST), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + Quantity { nanos: -other.nanos, ..other }
    }
}

/// The canonical form: the largest suffix that needs no fraction.
impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.is_whole() && self.nanos.abs() >= 1024 * NANO {
            let mut number = self.nanos / NANO;
            let mut step = 0;
            while number % 1024 == 0 && step < 6 {
                number /= 1024;
                step += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let mut number = self.nanos;
        let mut exponent = -9;
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (Format::DecimalExponent, 0) => write!(f, "{number}"),
            (Format::DecimalExponent, exponent) => write!(f, "{number}e{exponent}"),
            (_, exponent) => write!(f, "{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((exponent + 9) / 3) as usize]),
        }
    }
}

fn suffix_form(suffix: &str) -> bool {
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let signed = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    signed.chars().all(|c| c.is_ascii_digit())
}

fn suffix_of(suffix: &str) -> Option<(Format, u32, i32)> {
    let decimal = |exponent| Some((Format::DecimalSi, 10, exponent));
    let binary = |exponent| Some((Format::BinarySi, 2, exponent));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            Some((Format::DecimalExponent, 10, exponent.clamp(-40, 40)))
        }
    }
}

/// `digits` with `fraction` of them behind the point, times `base^exponent`, in nano units, rounded up, capped.
fn scale(digits: &str, fraction: usize, base: u32, exponent: i32) -> i128 {
    let digits = digits.trim_start_matches('0');
    let mut mantissa: i128 = 0;
    let mut dropped = 0usize;
    for (at, c) in digits.bytes().enumerate() {
        if at >= 28 {
            dropped += 1;
            continue;
        }
        mantissa = mantissa * 10 + i128::from(c - b'0');
    }
    let mut tens = 9 + dropped as i64 - fraction as i64;
    if base == 10 {
        tens += i64::from(exponent);
    } else {
        mantissa = mantissa.saturating_mul(1 << exponent);
    }
    for _ in 0..tens.clamp(0, 80) {
        mantissa = mantissa.saturating_mul(10);
    }
    for step in 0..(-tens).max(0) {
        if mantissa <= 1 && step > 40 {
            break;
        }
        mantissa = div_up(mantissa, 10);
    }
    mantissa.min(MOST)
}

fn div_up(number: i128, by: i128) -> i128 {
    number.div_euclid(by) + i128::from(number.rem_euclid(by) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Left: as written; right: as kube-apiserver gives it back.
    #[rstest]
    #[case("1", "1")]
    #[case("1000m", "1")]
    #[case("0.5", "500m")]
    #[case("1500m", "1500m")]
    #[case("1024Mi", "1Gi")]
    #[case("1.5Gi", "1536Mi")]
    #[case("512", "512")]
    #[case("1Ki", "1Ki")]
    #[case("0.5Ki", "512")]
    #[case("1e3", "1e3")]
    #[case("12e6", "12e6")]
    #[case("1000", "1k")]
    #[case("1G", "1G")]
    #[case("0", "0")]
    #[case("0Gi", "0")]
    #[case("-1", "-1")]
    #[case("0.0000000001", "1n")]
    #[case("10E", "9223372036854775807")]
    fn canonical_form(#[case] written: &str, #[case] canonical: &str) {
        assert_eq!(Quantity::parse(written).unwrap().to_string(), canonical);
    }

    #[rstest]
    #[case("1Gx", BadQuantity::Form)]
    #[case("one", BadQuantity::Form)]
    #[case("", BadQuantity::Form)]
    #[case("1.2.3", BadQuantity::Form)]
    #[case("1GiB", BadQuantity::Form)]
    #[case("1mm", BadQuantity::Suffix)]
    fn refused(#[case] written: &str, #[case] error: BadQuantity) {
        assert_eq!(Quantity::parse(written), Err(error));
    }
}
