//! The writers of ec2Query and awsQuery: trees with the model's member names become form parameters.
//!
//! ec2Query flattens every list and names a parameter by the model's `queryName`, else its capitalised `locationName`, else the
//! member; the names that are not the member's own are `data/ec2_names.tsv`. awsQuery writes `Tags.member.1.Key`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Everything but the unreserved characters of RFC 3986 is escaped, as AWS's serializers do.
pub(super) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Operation and path of members, to the name on the wire.
static EC2_NAMES: LazyLock<BTreeMap<(&str, &str), &str>> = LazyLock::new(|| {
    include_str!("../../data/ec2_names.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut cells = line.split('\t');
            Some(((cells.next()?, cells.next()?), cells.next()?))
        })
        .collect()
});

/// The form body of an ec2Query call.
pub fn ec2(operation: &str, version: &str, parameters: &Value) -> String {
    let mut form = Form::new(operation, version);
    form.ec2(operation, "", "", parameters);
    form.body
}

/// The form body of an awsQuery call.
pub fn aws(operation: &str, version: &str, parameters: &Value) -> String {
    let mut form = Form::new(operation, version);
    form.aws("", parameters);
    form.body
}

struct Form {
    body: String,
}

impl Form {
    fn new(operation: &str, version: &str) -> Self {
        let mut form = Form { body: String::with_capacity(256) };
        form.put("Action", operation);
        form.put("Version", version);
        form
    }

    fn put(&mut self, key: &str, text: &str) {
        if !self.body.is_empty() {
            self.body.push('&');
        }
        self.body.extend(utf8_percent_encode(key, ESCAPED));
        self.body.push('=');
        self.body.extend(utf8_percent_encode(text, ESCAPED));
    }

    /// `path` are member names, `key` is what was written of them.
    fn ec2(&mut self, operation: &str, path: &str, key: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                for (member, inner) in members {
                    let path = join(path, member);
                    let name = EC2_NAMES.get(&(operation, path.as_str())).copied().unwrap_or(member);
                    self.ec2(operation, &path, &join(key, name), inner);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.ec2(operation, path, &format!("{key}.{}", index + 1), item);
                }
            }
            other => self.scalar(key, other),
        }
    }

    fn aws(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(members) => members.iter().for_each(|(member, inner)| self.aws(&join(key, member), inner)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.aws(&format!("{key}.member.{}", index + 1), item))
            }
            other => self.scalar(key, other),
        }
    }

    fn scalar(&mut self, key: &str, value: &Value) {
        match value {
            Value::Null | Value::Array(_) | Value::Object(_) => {}
            Value::Bool(flag) => self.put(key, if *flag { "true" } else { "false" }),
            Value::String(text) => self.put(key, text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => self.put(key, &whole.to_string()),
                (None, Some(real)) => self.put(key, &float(real)),
                (None, None) => self.put(key, &number.to_string()),
            },
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// The shortest decimal that reads back equal; with an exponent below 1e-6 and from 1e21 on, as smithy-go writes floats
/// (`smithy-go/encoding/encoding.go`).
pub fn float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn ec2_flattens_and_renames() {
        let body = ec2(
            "CreateFleet",
            "2016-11-15",
            &json!({"Type": "instant", "TagSpecifications": [{"ResourceType": "fleet", "Tags": [{"Key": "a/b", "Value": "c d"}]}],
                    "LaunchTemplateConfigs": [{"Overrides": [{"Priority": 0.096}, {"Priority": 1.0}]}], "DryRun": true, "Empty": [], "None": null}),
        );
        assert_eq!(
            body,
            "Action=CreateFleet&Version=2016-11-15&Type=instant&TagSpecification.1.ResourceType=fleet&TagSpecification.1.Tag.1.Key=a%2Fb\
             &TagSpecification.1.Tag.1.Value=c%20d&LaunchTemplateConfigs.1.Overrides.1.Priority=0.096&LaunchTemplateConfigs.1.Overrides.2.Priority=1&DryRun=true"
        );
    }

    #[test]
    fn aws_query_names_members() {
        let body = aws("CreateInstanceProfile", "2010-05-08", &json!({"InstanceProfileName": "x", "Tags": [{"Key": "k", "Value": ""}]}));
        assert_eq!(body, "Action=CreateInstanceProfile&Version=2010-05-08&InstanceProfileName=x&Tags.member.1.Key=k&Tags.member.1.Value=");
    }

    #[rstest]
    #[case(0.096, "0.096")]
    #[case(1.0, "1")]
    #[case(0.0, "0")]
    #[case(9.6e-9, "9.6e-9")]
    #[case(1e21, "1e+21")]
    fn floats_are_written_as_the_go_sdk_does(#[case] number: f64, #[case] text: &str) {
        assert_eq!(float(number), text);
    }
}
