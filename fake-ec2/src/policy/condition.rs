//! Condition operators. Source: IAM user guide, "IAM JSON policy elements: Condition operators" and "Multivalued context keys".

use std::net::IpAddr;

use jiff::Timestamp;

use super::Context;
use super::document::Condition;
use super::pattern::{Case, Pattern, literal};

/// An operator with what stands before and after it: `ForAllValues:StringEqualsIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    pub set: Option<Set>,
    pub test: Test,
    /// The test is inverted: `StringNotEquals`.
    pub not: bool,
    pub if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Order),
    Date(Order),
    Bool,
    BinaryEquals,
    IpAddress,
    /// `ArnEquals` and `ArnLike` are one.
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Operator {
    pub fn read(name: &str) -> Option<Self> {
        let (set, name) = match name.split_once(':') {
            None => (None, name),
            Some(("ForAllValues", rest)) => (Some(Set::ForAllValues), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::ForAnyValue), rest),
            Some(_) => return None,
        };
        let (name, if_exists) = name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        let (_, test, not) = TABLE.into_iter().find(|(known, ..)| *known == name)?;
        if test == Test::Null && (set.is_some() || if_exists) {
            return None;
        }
        Some(Self { set, test, not, if_exists })
    }

    /// As documents write it.
    pub fn name(self) -> String {
        let set = match self.set {
            None => "",
            Some(Set::ForAllValues) => "ForAllValues:",
            Some(Set::ForAnyValue) => "ForAnyValue:",
        };
        let known = TABLE.into_iter().find(|(_, test, not)| (*test, *not) == (self.test, self.not));
        let name = known.map_or("", |(name, ..)| name);
        format!("{set}{name}{}", if self.if_exists { "IfExists" } else { "" })
    }
}

/// Names, tests, and whether they are inverted.
const TABLE: [(&str, Test, bool); 27] = [
    ("StringEquals", Test::StringEquals, false),
    ("StringNotEquals", Test::StringEquals, true),
    ("StringEqualsIgnoreCase", Test::StringEqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::StringEqualsIgnoreCase, true),
    ("StringLike", Test::StringLike, false),
    ("StringNotLike", Test::StringLike, true),
    ("NumericEquals", Test::Numeric(Order::Equal), false),
    ("NumericNotEquals", Test::Numeric(Order::Equal), true),
    ("NumericLessThan", Test::Numeric(Order::Less), false),
    ("NumericLessThanEquals", Test::Numeric(Order::LessOrEqual), false),
    ("NumericGreaterThan", Test::Numeric(Order::Greater), false),
    ("NumericGreaterThanEquals", Test::Numeric(Order::GreaterOrEqual), false),
    ("DateEquals", Test::Date(Order::Equal), false),
    ("DateNotEquals", Test::Date(Order::Equal), true),
    ("DateLessThan", Test::Date(Order::Less), false),
    ("DateLessThanEquals", Test::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Test::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Test::Date(Order::GreaterOrEqual), false),
    ("Bool", Test::Bool, false),
    ("BinaryEquals", Test::BinaryEquals, false),
    ("IpAddress", Test::IpAddress, false),
    ("NotIpAddress", Test::IpAddress, true),
    ("ArnLike", Test::Arn, false),
    ("ArnEquals", Test::Arn, false),
    ("ArnNotLike", Test::Arn, true),
    ("ArnNotEquals", Test::Arn, true),
    ("Null", Test::Null, false),
];

impl Condition {
    /// Whether the request meets it. `variables` says whether the document's version has them.
    pub fn holds(&self, context: &Context, variables: bool) -> bool {
        let Operator { set, test, not, if_exists } = self.operator;
        let held = context.get(&self.key);
        if test == Test::Null {
            return self.values.iter().any(|wanted| wanted.eq_ignore_ascii_case("true") == held.is_none());
        }
        let one = |value: &String| not != self.values.iter().any(|wanted| meets(test, wanted, value, context, variables));
        match (held, set) {
            // A key without values is met by "all of them".
            (None, Some(Set::ForAllValues)) => true,
            (None, _) if if_exists => true,
            (None, Some(Set::ForAnyValue)) => false,
            // What is not there is not equal to anything.
            (None, None) => not,
            (Some(values), Some(Set::ForAllValues)) => values.iter().all(one),
            (Some(values), Some(Set::ForAnyValue)) => values.iter().any(one),
            // Without a word for sets, an inverted test must hold for every value, any other for one.
            (Some(values), None) if not => values.iter().all(one),
            (Some(values), None) => values.iter().any(one),
        }
    }
}

fn meets(test: Test, wanted: &str, value: &str, context: &Context, variables: bool) -> bool {
    let pattern = |text: &str| if variables { Pattern::with_variables(text, context) } else { Some(Pattern::plain(text)) };
    let plain = || if variables { literal(wanted, context) } else { Some(wanted.into()) };
    match test {
        Test::StringEquals => plain().is_some_and(|wanted| wanted == value),
        Test::StringEqualsIgnoreCase => plain().is_some_and(|wanted| wanted.to_lowercase() == value.to_lowercase()),
        Test::StringLike => pattern(wanted).is_some_and(|pattern| pattern.matches(value, Case::Exact)),
        Test::Numeric(order) => match (wanted.parse::<f64>(), value.parse::<f64>()) {
            (Ok(wanted), Ok(value)) => value.partial_cmp(&wanted).is_some_and(|found| order.holds(found)),
            _ => false,
        },
        Test::Date(order) => instant(wanted).zip(instant(value)).is_some_and(|(wanted, value)| order.holds(value.cmp(&wanted))),
        Test::Bool => plain().is_some_and(|wanted| wanted.eq_ignore_ascii_case(value)),
        Test::BinaryEquals => wanted == value,
        Test::IpAddress => value.parse().is_ok_and(|address| within(wanted, address)),
        Test::Arn => arn(wanted, value, pattern),
        Test::Null => false,
    }
}

/// ISO 8601, or seconds since 1970.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    let day = |text: &str| format!("{text}T00:00:00Z").parse().ok();
    text.parse().ok().or_else(|| day(text.trim_end_matches('Z')))
}

/// Whether an address lies in a block (`10.0.0.0/8`, `2001:db8::/32`), or is the one written.
fn within(block: &str, address: IpAddr) -> bool {
    let (network, bits) = block.split_once('/').map_or((block, None), |(network, bits)| (network, Some(bits)));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let most = if network.is_ipv4() { 32 } else { 128 };
    let bits = match bits.map(str::parse::<u32>) {
        None => most,
        Some(Ok(bits)) if bits <= most => bits,
        Some(_) => return false,
    };
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
    network.is_ipv4() == address.is_ipv4() && number(network) & mask == number(address) & mask
}

/// Each of the six parts is matched by itself.
fn arn(wanted: &str, value: &str, pattern: impl Fn(&str) -> Option<Pattern>) -> bool {
    let (mut wanted_parts, mut parts) = (split_arn(wanted), value.splitn(6, ':'));
    loop {
        match (wanted_parts.next(), parts.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if pattern(wanted).is_some_and(|pattern| pattern.matches(part, Case::Exact)) => {}
            _ => return false,
        }
    }
}

/// The parts of an ARN with variables, whose names have colons of their own.
fn split_arn(text: &str) -> impl Iterator<Item = &str> {
    let mut parts = Vec::new();
    let (mut from, mut inside) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if text[..at].ends_with('$') => inside = true,
            '}' => inside = false,
            ':' if !inside && parts.len() < 5 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts.into_iter()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn check(operator: &str, key: &str, values: &[&str]) -> bool {
        let mut context = Context::default();
        context.set("aws:username", "ann");
        context.set("aws:RequestTag/team", "Blue");
        context.set_all("aws:TagKeys", vec!["team".into(), "Name".into()]);
        context.set("ec2:VolumeSize", "20");
        context.set("aws:CurrentTime", "2026-11-21T18:00:00Z");
        context.set("aws:SecureTransport", "false");
        context.set("aws:SourceIp", "10.1.2.3");
        context.set("aws:PrincipalArn", "arn:aws:iam::123456789012:role/path/ann");
        let operator = Operator::read(operator).expect("an operator");
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition { operator, key: key.to_owned(), values }.holds(&context, true)
    }

    // The table of the user guide's page on each operator, with a key that is there and one that is not.
    #[rstest]
    #[case("StringEquals", "aws:RequestTag/team", &["Blue"], true)]
    #[case("StringEquals", "AWS:requesttag/TEAM", &["Blue"], true)]
    #[case("StringEquals", "aws:RequestTag/team", &["blue", "red"], false)]
    #[case("StringEquals", "aws:RequestTag/none", &["Blue"], false)]
    #[case("StringEquals", "aws:username", &["${aws:username}"], true)]
    #[case("StringNotEquals", "aws:RequestTag/team", &["Blue"], false)]
    #[case("StringNotEquals", "aws:RequestTag/none", &["Blue"], true)]
    #[case("StringEqualsIfExists", "aws:RequestTag/none", &["Blue"], true)]
    #[case("StringEqualsIfExists", "aws:RequestTag/team", &["red"], false)]
    #[case("StringEqualsIgnoreCase", "aws:RequestTag/team", &["bLUE"], true)]
    #[case("StringNotEqualsIgnoreCase", "aws:RequestTag/team", &["bLUE"], false)]
    #[case("StringLike", "aws:RequestTag/team", &["B*"], true)]
    #[case("StringLike", "aws:RequestTag/team", &["b*"], false)]
    #[case("StringNotLike", "aws:RequestTag/team", &["B*"], false)]
    #[case("ForAllValues:StringEquals", "aws:TagKeys", &["team", "Name", "x"], true)]
    #[case("ForAllValues:StringEquals", "aws:TagKeys", &["team"], false)]
    #[case("ForAllValues:StringEquals", "aws:RequestTag/none", &["team"], true)]
    #[case("ForAnyValue:StringEquals", "aws:TagKeys", &["team"], true)]
    #[case("ForAnyValue:StringEquals", "aws:TagKeys", &["x"], false)]
    #[case("ForAnyValue:StringEquals", "aws:RequestTag/none", &["x"], false)]
    #[case("ForAnyValue:StringEqualsIfExists", "aws:RequestTag/none", &["x"], true)]
    #[case("ForAllValues:StringNotEquals", "aws:TagKeys", &["team"], false)]
    #[case("ForAnyValue:StringNotEquals", "aws:TagKeys", &["team"], true)]
    #[case("NumericLessThanEquals", "ec2:VolumeSize", &["20"], true)]
    #[case("NumericLessThan", "ec2:VolumeSize", &["20"], false)]
    #[case("NumericGreaterThan", "ec2:VolumeSize", &["8"], true)]
    #[case("NumericEquals", "aws:username", &["8"], false)]
    #[case("DateLessThan", "aws:CurrentTime", &["2026-11-22T00:00:00Z"], true)]
    #[case("DateGreaterThan", "aws:CurrentTime", &["2026-11-21"], true)]
    #[case("DateGreaterThan", "aws:CurrentTime", &["1795500000"], false)]
    #[case("Bool", "aws:SecureTransport", &["false"], true)]
    #[case("BoolIfExists", "aws:MultiFactorAuthPresent", &["true"], true)]
    #[case("IpAddress", "aws:SourceIp", &["10.0.0.0/8"], true)]
    #[case("IpAddress", "aws:SourceIp", &["10.1.2.3"], true)]
    #[case("NotIpAddress", "aws:SourceIp", &["192.168.0.0/16", "10.1.0.0/16"], false)]
    #[case("ArnLike", "aws:PrincipalArn", &["arn:aws:iam::*:role/*"], true)]
    #[case("ArnEquals", "aws:PrincipalArn", &["arn:aws:iam::123456789012:role/*/${aws:username}"], true)]
    #[case("ArnNotLike", "aws:PrincipalArn", &["arn:aws:iam::*:user/*"], true)]
    #[case("ArnLike", "aws:PrincipalArn", &["arn:*:role/path/ann"], false)]
    #[case("Null", "aws:RequestTag/none", &["true"], true)]
    #[case("Null", "aws:RequestTag/team", &["true"], false)]
    #[case("Null", "aws:RequestTag/team", &["false"], true)]
    fn operators(#[case] operator: &str, #[case] key: &str, #[case] values: &[&str], #[case] holds: bool) {
        assert_eq!(check(operator, key, values), holds);
    }

    #[rstest]
    #[case("StringSame")]
    #[case("ForSomeValues:StringEquals")]
    #[case("NullIfExists")]
    #[case("IfExists")]
    fn unknown_operators(#[case] name: &str) {
        assert_eq!(Operator::read(name), None);
    }
}
