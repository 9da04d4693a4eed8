//! What IAM asks of an identity's policy beyond the grammar, in the order in which it asks: syntax, version, dates and ARNs ("legacy parsing"),
//! Sids, actions, resources.
//!
//! Source: the refusals that clients report of CreatePolicy and PutUserPolicy; IAM user guide, "IAM JSON policy elements".

use serde_json::{Map, Value};

use super::condition::{Operator, Test};
use super::document::{Fault, known};

/// Paths that an IAM resource may have.
const PATHS: &str = "user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/";
const PARTITIONS: [&str; 6] = ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "*"];

type Statement<'a> = &'a Map<String, Value>;

/// Checks a document that is to be an identity's policy. A managed one must be of the language's present version, an inline one need not.
pub fn check(text: &str, managed: bool) -> Result<(), Fault> {
    let document: Value = serde_json::from_str(text).map_err(|_| Fault::Syntax)?;
    let document = document.as_object().ok_or(Fault::Syntax)?;
    known(document, &["Version", "Id", "Statement"])?;
    if document.get("Id").is_some_and(|id| !id.is_string()) {
        return Err(Fault::Syntax);
    }
    let statements: Vec<Statement<'_>> = match document.get("Statement") {
        Some(Value::Object(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().map(|one| one.as_object().ok_or(Fault::Syntax)).collect::<Result<_, _>>()?,
        _ => return Err(Fault::Syntax),
    };
    statements.iter().try_for_each(|statement| syntax(statement))?;
    match document.get("Version").map(Value::as_str) {
        Some(Some("2012-10-17")) => {}
        None | Some(Some("2008-10-17")) if managed => return Err(Fault::Version),
        None | Some(Some("2008-10-17")) => {}
        _ => return Err(Fault::Syntax),
    }
    if statements.iter().any(|statement| fails_of_old(statement)) {
        return Err(Fault::Legacy);
    }
    let mut sids: Vec<&str> = statements.iter().filter_map(|it| it.get("Sid")?.as_str()).filter(|sid| !sid.is_empty()).collect();
    let count = sids.len();
    sids.sort_unstable();
    sids.dedup();
    if sids.len() < count {
        return Err(Fault::Sids);
    }
    statements.iter().try_for_each(|statement| actions(statement))?;
    statements.iter().try_for_each(|statement| resources(statement))
}

/// A text or a list of texts; a null among them counts for nothing.
fn texts<'a>(statement: Statement<'a>, names: [&str; 2]) -> Vec<&'a str> {
    let value = names.iter().find_map(|name| statement.get(*name));
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn syntax(statement: Statement<'_>) -> Result<(), Fault> {
    known(statement, &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"])?;
    let text = |name: &str| statement.get(name).is_none_or(Value::is_string);
    let effect = statement.get("Effect").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if !text("Sid") || !matches!(effect.as_str(), "allow" | "deny") {
        return Err(Fault::Syntax);
    }
    for [plain, inverted] in [["Action", "NotAction"], ["Resource", "NotResource"]] {
        if statement.contains_key(plain) && statement.contains_key(inverted) {
            return Err(Fault::Syntax);
        }
        let good = |value: &Value| match value {
            Value::Array(list) => list.iter().all(|item| item.is_string() || (item.is_null() && plain == "Resource")),
            value => value.is_string(),
        };
        if [plain, inverted].iter().filter_map(|name| statement.get(*name)).any(|value| !good(value)) {
            return Err(Fault::Syntax);
        }
    }
    for (operator, keys) in statement.get("Condition").map_or(Ok(&Map::new()), |value| value.as_object().ok_or(Fault::Syntax))? {
        let keys = keys.as_object().ok_or(Fault::Syntax)?;
        let scalar = |value: &Value| !value.is_object() && !value.is_array();
        let good = |value: &Value| value.as_array().map_or_else(|| scalar(value), |list| list.iter().all(scalar));
        if (!keys.is_empty() && Operator::read(operator).is_none()) || !keys.values().all(good) {
            return Err(Fault::Syntax);
        }
    }
    Ok(())
}

/// What an older parser refuses: another case of the effect, dates that are none, ARNs of too few parts.
fn fails_of_old(statement: Statement<'_>) -> bool {
    let effect = statement.get("Effect").and_then(Value::as_str);
    let bad_arn = |arn: &&str| {
        let parts: Vec<&str> = arn.split(':').collect();
        // `arn:aws` and `arn:aws:vendor` are other faults, or none.
        arn.starts_with("arn:aws:") && (matches!(parts.len(), 4 | 5) || (parts.len() > 3 && parts[2].is_empty()))
    };
    let conditions = statement.get("Condition").and_then(Value::as_object).into_iter().flatten();
    let dated = conditions.filter(|(name, _)| Operator::read(name).is_some_and(|operator| matches!(operator.test, Test::Date(_))));
    let values = dated.flat_map(|(_, keys)| keys.as_object().into_iter().flat_map(Map::values));
    let mut dates = values.flat_map(|value| value.as_array().map_or_else(|| vec![value], |list| list.iter().collect()));
    !matches!(effect, Some("Allow" | "Deny"))
        || texts(statement, ["Resource", "NotResource"]).iter().any(bad_arn)
        || dates.any(|date| date.as_str().is_some_and(|text| !is_date(text)))
}

/// Seconds since 1970, or a date of ISO 8601 that may end early.
fn is_date(text: &str) -> bool {
    if text.parse::<i64>().is_ok() {
        return true;
    }
    let (date, time) = text.split_once(['t', 'T']).unwrap_or((text, ""));
    let digits = |part: &str, most: usize| !part.is_empty() && part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
    let within = |part: &str, most: u32| digits(part, 2) && part.parse::<u32>().is_ok_and(|value| value <= most);
    let mut day = date.split('-');
    if !day.next().is_some_and(|year| digits(year, 4))
        || !day.next().is_none_or(|month| within(month, 12))
        || !day.next().is_none_or(|day| within(day, 31))
        || day.next().is_some()
    {
        return false;
    }
    let time = time.strip_suffix(['z', 'Z']).unwrap_or(time);
    let (time, zone) = time.find(['+', '-']).map_or((time, ""), |at| (&time[..at], &time[at + 1..]));
    let zoned = zone.is_empty() || zone.split(':').all(|part| part.len() == 2 && within(part, 59));
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    zoned && digits(fraction, 9) && (clock.is_empty() || clock.split(':').all(|part| within(part, 60)))
}

fn actions(statement: Statement<'_>) -> Result<(), Fault> {
    let actions = texts(statement, ["Action", "NotAction"]);
    if actions.is_empty() {
        return Err(Fault::NoAction);
    }
    for action in actions.into_iter().filter(|action| *action != "*") {
        match action.split(':').collect::<Vec<_>>()[..] {
            [_] => return Err(Fault::Vendor),
            [vendor, _] => {
                if !vendor.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'*' | b'?')) {
                    return Err(Fault::NoVendor(vendor.to_owned()));
                }
            }
            _ => return Err(Fault::Colons),
        }
    }
    Ok(())
}

fn resources(statement: Statement<'_>) -> Result<(), Fault> {
    let resources = texts(statement, ["Resource", "NotResource"]);
    if resources.is_empty() {
        return Err(Fault::NoResource);
    }
    resources.into_iter().filter(|resource| *resource != "*" && !resource.starts_with("${")).try_for_each(resource)
}

fn resource(arn: &str) -> Result<(), Fault> {
    let parts: Vec<&str> = arn.split(':').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    if parts.len() < 2 {
        return Err(Fault::Arn(arn.to_owned()));
    }
    if !PARTITIONS.contains(&part(1)) && !part(1).contains("${") {
        let shown: Vec<&str> = ["arn"].into_iter().chain(parts[1..].iter().copied()).chain(["*"; 4]).take(parts.len().max(6)).collect();
        return Err(Fault::Partition(part(1).to_owned(), shown.join(":")));
    }
    if part(2).is_empty() || part(2).contains(['*', '?']) {
        return Err(Fault::VendorOfResource);
    }
    match part(2) {
        "iam" if !part(3).is_empty() => Err(Fault::RegionOfIam(arn.to_owned())),
        "iam" if parts.len() > 5 && part(5) != "*" && !PATHS.split(", ").any(|path| part(5).starts_with(path)) => {
            Err(Fault::PathOfIam(PATHS))
        }
        // Access points are regional, buckets are not.
        "s3" if !part(3).is_empty() && part(4).is_empty() => Err(Fault::Region(arn.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// A policy with one statement that is good but for what is changed.
    fn with(change: Value) -> String {
        let mut statement = json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bucket"});
        for (key, value) in change.as_object().expect("changes") {
            statement[key] = value.clone();
        }
        json!({"Version": "2012-10-17", "Statement": statement}).to_string()
    }

    #[rstest]
    #[case(json!({"Action": []}), "Policy statement must contain actions.")]
    #[case(json!({"Action": "s3:List:Bucket"}), "Actions/Condition can contain only one colon.")]
    #[case(json!({"Action": "a a:ListBucket"}), "Vendor a a is not valid")]
    #[case(json!({"Action": "ListBucket"}), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    #[case(json!({"Resource": []}), "Policy statement must contain resources.")]
    #[case(json!({"Resource": "bucket"}), "Resource bucket must be in ARN format or \"*\".")]
    #[case(json!({"Resource": "a:b:c"}), "Partition \"b\" is not valid for resource \"arn:b:c:*:*:*\".")]
    #[case(json!({"Resource": "arn:aws"}), "Resource vendor must be fully qualified and cannot contain regexes.")]
    #[case(json!({"Resource": "arn:aws:s3::bucket"}), "The policy failed legacy parsing")]
    #[case(json!({"Resource": "arn:aws:s3:us-east-1::bucket"}), "Resource arn:aws:s3:us-east-1::bucket can not contain region information.")]
    #[case(json!({"Resource": "arn:aws:iam:us-east-1::role/x"}), "IAM resource arn:aws:iam:us-east-1::role/x cannot contain region information.")]
    #[case(json!({"Resource": "arn:aws:iam:::x"}), "IAM resource path must either be \"*\" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/.")]
    #[case(json!({"Effect": "aLLow"}), "The policy failed legacy parsing")]
    #[case(json!({"Condition": {"DateLessThan": {"a": "2016-13-01"}}}), "The policy failed legacy parsing")]
    #[case(json!({"Condition": {"StringSame": {"a": "b"}}}), "Syntax errors in policy.")]
    #[case(json!({"Condition": {"StringEquals": {"a": {}}}}), "Syntax errors in policy.")]
    fn faults(#[case] change: Value, #[case] message: &str) {
        assert_eq!(check(&with(change), true).expect_err("a fault").to_string(), message);
    }

    #[rstest]
    #[case("2017-07-01T00:00:00Z", true)]
    #[case("2016-12-13T21:20:37.593194+00:00", true)]
    #[case("2016-12-13t2:00:00.593194+23", true)]
    #[case("01T", true)]
    #[case("-292275054", true)]
    #[case("9223372036854775808", false)]
    #[case("2016-12-13t2:00:00.593194+1", false)]
    #[case("2016-12-13t2:00:00.1999999999+10:59", false)]
    #[case("234-13", false)]
    #[case("tomorrow", false)]
    fn dates(#[case] text: &str, #[case] good: bool) {
        assert_eq!(is_date(text), good);
    }

    #[test]
    fn a_version_is_needed_and_good_ones_pass() {
        let old = with(json!({})).replace("2012-10-17", "2008-10-17");
        assert_eq!((check(&old, true), check(&old, false)), (Err(Fault::Version), Ok(())));
        for resource in [
            "*",
            "arn:aws:s3:::b/*",
            "arn:aws:iam::*:user/${aws:username}",
            "arn:aws:fdsasf",
            "arn:aws:ec2:*::image/*",
            "arn:*:ec2:*:*:volume/*",
        ] {
            assert_eq!(check(&with(json!({"Resource": resource})), true), Ok(()), "{resource}");
        }
    }
}
