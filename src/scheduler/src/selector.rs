//! Label selectors of pods and nodes, compiled once and matched often.

use crate::wire::{Expression, LabelSelector, Labels, NodeTerm};

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Requirement {
    /// None when upstream refuses to parse it, so that its term matches nothing
    /// (`k8s.io/apimachinery/pkg/labels/selector.go`, NewRequirement).
    fn parse(from: &Expression) -> Option<Self> {
        let bound = || match &from.values[..] {
            [only] => only.parse::<i64>().ok(),
            _ => None,
        };
        let test = match from.operator.as_str() {
            "In" if !from.values.is_empty() => Test::In(from.values.clone()),
            "NotIn" if !from.values.is_empty() => Test::NotIn(from.values.clone()),
            "Exists" if from.values.is_empty() => Test::Exists,
            "DoesNotExist" if from.values.is_empty() => Test::DoesNotExist,
            "Gt" => Test::GreaterThan(bound()?),
            "Lt" => Test::LessThan(bound()?),
            _ => return None,
        };
        Some(Requirement { key: from.key.clone(), test })
    }

    fn equals(key: &str, value: &str) -> Self {
        Requirement { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.contains(v)),
            Test::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Test::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// A conjunction of requirements. [`Selector::everything`] has none; [`Selector::nothing`] matches nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    all: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    pub fn everything() -> Self {
        Selector { all: Vec::new(), nothing: false }
    }

    pub fn nothing() -> Self {
        Selector { all: Vec::new(), nothing: true }
    }

    /// An absent selector matches nothing, an empty one everything (`metav1.LabelSelectorAsSelector`). One that cannot be parsed
    /// matches nothing.
    pub fn from_wire(from: Option<&LabelSelector>) -> Self {
        let Some(from) = from else { return Self::nothing() };
        let mut selector = Self::from_labels(&from.match_labels);
        for expression in &from.match_expressions {
            match Requirement::parse(expression) {
                Some(requirement) => selector.all.push(requirement),
                None => return Self::nothing(),
            }
        }
        selector
    }

    pub fn from_labels(labels: &Labels) -> Self {
        Selector { all: labels.iter().map(|(key, value)| Requirement::equals(key, value)).collect(), nothing: false }
    }

    /// Both must match. Upstream leaves `Nothing` as it is.
    pub fn and(mut self, other: Selector) -> Self {
        self.nothing |= other.nothing;
        self.all.extend(other.all);
        self
    }

    pub fn and_equals(mut self, key: &str, value: &str) -> Self {
        self.all.push(Requirement::equals(key, value));
        self
    }

    /// True for the selector of everything only, as upstream's `Empty`.
    pub fn is_everything(&self) -> bool {
        self.all.is_empty() && !self.nothing
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        !self.nothing && self.all.iter().all(|requirement| requirement.matches(labels))
    }
}

/// A term of a node selector: labels and `metadata.name`, conjoined
/// (`k8s.io/component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go`).
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSelectorTerm {
    labels: Selector,
    names: Vec<NameTest>,
    /// The intersection of what `metadata.name In` allows; None when the term names no node.
    pub node_names: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
struct NameTest {
    value: String,
    equal: bool,
}

impl NodeSelectorTerm {
    /// None for an empty term, which selects no node.
    pub fn from_wire(from: &NodeTerm) -> Option<Self> {
        if from.match_expressions.is_empty() && from.match_fields.is_empty() {
            return None;
        }
        let labels =
            Selector::from_wire(Some(&LabelSelector { match_labels: Labels::new(), match_expressions: from.match_expressions.clone() }));
        let mut term = NodeSelectorTerm { labels, names: Vec::new(), node_names: None };
        for field in &from.match_fields {
            term.add_field(field);
        }
        Some(term)
    }

    fn add_field(&mut self, field: &Expression) {
        if field.key == "metadata.name" && field.operator == "In" {
            self.node_names = Some(match self.node_names.take() {
                Some(before) => before.into_iter().filter(|name| field.values.contains(name)).collect(),
                None => field.values.clone(),
            });
        }
        match (field.key.as_str(), field.operator.as_str(), &field.values[..]) {
            ("metadata.name", "In", [value]) => self.names.push(NameTest { value: value.clone(), equal: true }),
            ("metadata.name", "NotIn", [value]) => self.names.push(NameTest { value: value.clone(), equal: false }),
            // A field that nodes do not have is empty: it equals nothing that a value names, and differs from all.
            (_, "NotIn", [_]) => {}
            _ => self.labels = Selector::nothing(),
        }
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.labels.matches(labels) && self.names.iter().all(|test| (test.value == name) == test.equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn labels() -> Labels {
        [("zone", "a"), ("cpu", "8"), ("name", "x")].into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[rstest]
    #[case("In", "zone", json!(["a", "b"]), true)]
    #[case("In", "zone", json!(["b"]), false)]
    #[case("In", "absent", json!(["b"]), false)]
    #[case("NotIn", "zone", json!(["a"]), false)]
    #[case("NotIn", "absent", json!(["a"]), true)]
    #[case("Exists", "zone", json!([]), true)]
    #[case("DoesNotExist", "zone", json!([]), false)]
    #[case("DoesNotExist", "absent", json!([]), true)]
    #[case("Gt", "cpu", json!(["7"]), true)]
    #[case("Gt", "cpu", json!(["8"]), false)]
    #[case("Lt", "cpu", json!(["9"]), true)]
    #[case("Lt", "name", json!(["9"]), false)]
    #[case("Gt", "cpu", json!(["7", "6"]), false)]
    #[case("In", "zone", json!([]), false)]
    #[case("Sometimes", "zone", json!(["a"]), false)]
    fn operators(#[case] operator: &str, #[case] key: &str, #[case] values: serde_json::Value, #[case] expect: bool) {
        let term: NodeTerm =
            crate::wire::read("term", &json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})).unwrap();
        assert_eq!(NodeSelectorTerm::from_wire(&term).unwrap().matches("n", &labels()), expect);
    }

    #[rstest]
    #[case(json!([{"key": "metadata.name", "operator": "In", "values": ["n"]}]), true, Some(vec!["n"]))]
    #[case(json!([{"key": "metadata.name", "operator": "In", "values": ["m"]}]), false, Some(vec!["m"]))]
    #[case(json!([{"key": "metadata.name", "operator": "NotIn", "values": ["m"]}]), true, None)]
    #[case(json!([{"key": "metadata.name", "operator": "In", "values": ["n", "m"]}]), false, Some(vec!["n", "m"]))]
    fn terms_by_name(#[case] fields: serde_json::Value, #[case] expect: bool, #[case] names: Option<Vec<&str>>) {
        let term: NodeTerm = crate::wire::read("term", &json!({"matchFields": fields})).unwrap();
        let term = NodeSelectorTerm::from_wire(&term).unwrap();
        assert_eq!(term.matches("n", &labels()), expect);
        assert_eq!(term.node_names, names.map(|names| names.into_iter().map(str::to_owned).collect()));
    }

    #[test]
    fn an_absent_selector_matches_nothing_and_an_empty_one_everything() {
        assert!(!Selector::from_wire(None).matches(&labels()));
        assert!(Selector::from_wire(Some(&LabelSelector::default())).matches(&labels()));
    }
}
