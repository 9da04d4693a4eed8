//! EC2's filters: names as documented per operation, values with `*` and `?`, tags.
//!
//! A filter reads the resource as it is rendered, so that a table of (documented name, path of members) says it all. An empty path
//! is a name that EC2 documents and this cloud has no value for: it matches nothing, as on a resource that lacks the value.

use serde_json::Value;

use super::errors;
use super::input::{Members, Read, scalar};
use crate::protocol::AwsError;

/// Documented name and path: members joined by dots, lists entered by themselves (`NetworkInterfaces.Groups.GroupId`).
pub type Table = &'static [(&'static str, &'static str)];

/// The filters of a request, checked against the operation's table.
#[derive(Debug)]
pub struct Filters {
    filters: Vec<Filter>,
}

#[derive(Debug)]
struct Filter {
    by: By,
    values: Vec<String>,
}

#[derive(Debug, PartialEq)]
enum By {
    Tag(String),
    TagKey,
    Path(&'static str),
}

impl Filters {
    /// Reads `Filters`. An unknown name is an error; a filter without values matches nothing.
    pub fn read(input: &Members, table: Table) -> Result<Self, AwsError> {
        Self::read_from(input, "Filters", table)
    }

    pub fn read_from(input: &Members, member: &str, table: Table) -> Result<Self, AwsError> {
        let mut filters = Vec::new();
        for filter in input.list(member) {
            let name = filter.text("Name").ok_or_else(|| errors::FILTER.error(&["null"]))?;
            let by = if let Some(key) = name.strip_prefix("tag:") {
                By::Tag(key.to_owned())
            } else if name == "tag-key" {
                By::TagKey
            } else {
                let row = table.iter().find(|(known, _)| *known == name);
                By::Path(row.ok_or_else(|| errors::FILTER.error(&[name]))?.1)
            };
            filters.push(Filter { by, values: filter.texts("Values").into_iter().map(str::to_owned).collect() });
        }
        Ok(Self { filters })
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether all filters are about tags or about these paths, which can be looked at without rendering.
    pub fn only_on(&self, paths: &[&str]) -> bool {
        self.filters
            .iter()
            .all(|filter| matches!(filter.by, By::Tag(_) | By::TagKey) || matches!(filter.by, By::Path(path) if paths.contains(&path)))
    }

    /// Whether a rendered resource passes every filter.
    pub fn pass(&self, resource: &Value) -> bool {
        self.filters.iter().all(|filter| filter.pass(resource))
    }

    /// Whether a rendered resource passes the filters that are not about tags.
    pub fn pass_paths(&self, resource: &Value) -> bool {
        self.filters.iter().all(|filter| !matches!(filter.by, By::Path(_)) || filter.pass(resource))
    }

    /// Whether a resource with these tags could pass: a cheap look before it is rendered.
    pub fn pass_tags(&self, tags: &crate::state::network::Tags) -> bool {
        self.filters.iter().all(|filter| match &filter.by {
            By::Tag(key) => tags.get(key).is_some_and(|value| filter.matches(value)),
            By::TagKey => tags.keys().any(|key| filter.matches(key)),
            By::Path(_) => true,
        })
    }

    /// Whether a filter is on this path, of what a resource does not show by itself.
    pub fn ask_for(&self, path: &str) -> bool {
        self.filters.iter().any(|filter| matches!(filter.by, By::Path(asked) if asked.starts_with(path)))
    }

    /// Whether a value passes the filters on one path: a cheap look before the resource is rendered.
    pub fn pass_path(&self, path: &str, value: &str) -> bool {
        self.filters.iter().all(|filter| match &filter.by {
            By::Path(known) if *known == path => filter.matches(value),
            _ => true,
        })
    }
}

impl Filter {
    fn pass(&self, resource: &Value) -> bool {
        match &self.by {
            By::Tag(key) => tags(resource).any(|(name, value)| name == key && self.matches(value)),
            By::TagKey => tags(resource).any(|(name, _)| self.matches(name)),
            By::Path("") => false,
            By::Path(path) => self.reach(resource, path),
        }
    }

    fn reach(&self, value: &Value, path: &str) -> bool {
        if let Value::Array(items) = value {
            return items.iter().any(|item| self.reach(item, path));
        }
        if path.is_empty() {
            return scalar(value).is_some_and(|text| self.matches(&text));
        }
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        value.member(first).is_some_and(|inner| self.reach(inner, rest))
    }

    fn matches(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| glob(pattern, value))
    }
}

fn tags(resource: &Value) -> impl Iterator<Item = (&str, &str)> {
    let tags = resource.list("Tags").iter();
    tags.filter_map(|tag| Some((tag.member("Key")?.as_str()?, tag.member("Value").and_then(Value::as_str).unwrap_or_default())))
}

/// `*` is any text, `?` any one character, `\` takes the next literally. Case counts. Linear in both texts.
pub fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            Some('\\') if pattern.get(p + 1) == Some(&text[t]) => {
                (p, t) = (p + 2, t + 1);
                continue;
            }
            Some(letter) if *letter == text[t] => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            _ => {}
        }
        let Some((at, from)) = star else { return false };
        star = Some((at, from + 1));
        (p, t) = (at + 1, from + 1);
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const TABLE: Table = &[("state", "State.Name"), ("group-id", "Nics.Groups.GroupId"), ("current", "Current"), ("never", "")];

    fn check(filters: Value) -> Result<bool, AwsError> {
        let resource = json!({
            "State": {"Name": "running"}, "Nics": [{"Groups": [{"GroupId": "sg-1"}, {"GroupId": "sg-2"}]}], "Current": true,
            "Tags": [{"Key": "team", "Value": "a"}, {"Key": "empty", "Value": ""}],
        });
        let input = json!({ "Filters": filters });
        Ok(Filters::read(input.as_object().expect("an object"), TABLE)?.pass(&resource))
    }

    #[rstest]
    #[case("state", &["pending", "running"], true)]
    #[case("state", &["Running"], false)]
    #[case("state", &["run*"], true)]
    #[case("group-id", &["sg-2"], true)]
    #[case("group-id", &["sg-3"], false)]
    #[case("current", &["true"], true)]
    #[case("never", &["*"], false)]
    #[case("tag:team", &["a"], true)]
    #[case("tag:team", &["b"], false)]
    #[case("tag:empty", &["*"], true)]
    #[case("tag-key", &["team"], true)]
    #[case("tag-key", &["te?m"], true)]
    #[case("tag-key", &["none"], false)]
    #[case("state", &[], false)]
    fn a_filter_decides(#[case] name: &str, #[case] values: &[&str], #[case] passes: bool) {
        assert_eq!(check(json!([{"Name": name, "Values": values}])), Ok(passes));
    }

    #[test]
    fn filters_are_joined_by_and() {
        assert_eq!(check(json!([{"Name": "state", "Values": ["running"]}, {"Name": "group-id", "Values": ["sg-9"]}])), Ok(false));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = check(json!([{"Name": "colour", "Values": ["red"]}])).expect_err("unknown");
        assert_eq!((error.code.as_str(), error.message.as_str()), ("InvalidParameterValue", "The filter 'colour' is invalid"));
    }

    #[rstest]
    #[case("a*c", "abbbc", true)]
    #[case("*a*b", "xxaxxb", true)]
    #[case("a*", "b", false)]
    #[case(r"a\*", "a*", true)]
    #[case(r"a\*", "ab", false)]
    #[case("", "", true)]
    fn globs(#[case] pattern: &str, #[case] text: &str, #[case] matches: bool) {
        assert_eq!(glob(pattern, text), matches);
    }
}
