//! The little of Kubernetes' quantities that a kubelet needs.

/// Thousandths of the unit: `"80m"` is 80, `"1Gi"` is 1024³ × 1000. `None` when it is not a quantity, or beyond measure.
pub fn milli(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_i128.pow(2),
        "G" => 1000 * 1000_i128.pow(3),
        "T" => 1000 * 1000_i128.pow(4),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_i128.pow(2),
        "Gi" => 1000 * 1024_i128.pow(3),
        "Ti" => 1000 * 1024_i128.pow(4),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(digits.checked_mul(factor)? / 10_i128.pow(u32::try_from(fraction.len()).ok()?))
}

/// Whole units, rounded down.
pub fn units(text: &str) -> Option<i128> {
    Some(milli(text)? / 1000)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case("80m", Some(80))]
    #[case("2", Some(2000))]
    #[case("1.5", Some(1500))]
    #[case("1Gi", Some(1_073_741_824_000))]
    #[case("1.5Ki", Some(1_536_000))]
    #[case("", None)]
    #[case(".", None)]
    #[case("-1", None)]
    #[case("1Zi", None)]
    #[case("999999999999999999999999999999999999999999Ti", None)]
    fn quantities(#[case] text: &str, #[case] expected: Option<i128>) {
        assert_eq!(super::milli(text), expected);
    }
}
