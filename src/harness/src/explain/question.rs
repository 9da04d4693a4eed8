//! What is asked about, and whom a name means.

use super::Error;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Node,
    NodeClaim,
    NodePool,
    EC2NodeClass,
    Pod,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Node => "node",
            Kind::NodeClaim => "nodeclaim",
            Kind::NodePool => "nodepool",
            Kind::EC2NodeClass => "ec2nodeclass",
            Kind::Pod => "pod",
        })
    }
}

/// `node/NAME`, `nodeclaim/NAME`, `nodepool/NAME`, `ec2nodeclass/NAME`, `pod/NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub kind: Kind,
    /// Of a pod with its namespace.
    pub name: String,
}

impl FromStr for Question {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Question(text.to_owned());
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        let kind = match kind {
            "node" | "nodes" | "no" => Kind::Node,
            "nodeclaim" | "nodeclaims" => Kind::NodeClaim,
            "nodepool" | "nodepools" => Kind::NodePool,
            "ec2nodeclass" | "ec2nodeclasses" | "ec2nc" => Kind::EC2NodeClass,
            "pod" | "pods" | "po" => Kind::Pod,
            _ => return Err(wrong()),
        };
        let parts = if kind == Kind::Pod { 2 } else { 1 };
        let whole = name.split('/').count() == parts && name.split('/').all(|part| !part.is_empty());
        if whole { Ok(Question { kind, name: name.to_owned() }) } else { Err(wrong()) }
    }
}

/// How many like names are shown.
const NEAR: usize = 3;
/// Names less like than that are not worth showing.
const LIKE: f64 = 0.8;

/// The one of `known` that is meant: by its whole name, or by a prefix that no other has.
pub fn resolve<'a>(question: &Question, known: impl Iterator<Item = &'a str>) -> Result<&'a str, Error> {
    let name = question.name.as_str();
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    if let Some(exact) = known.iter().find(|k| **k == name) {
        return Ok(exact);
    }
    let several: Vec<&str> = known.iter().copied().filter(|k| k.starts_with(name)).collect();
    match several.as_slice() {
        [one] => Ok(one),
        [] => {
            let mut near: Vec<(f64, &str)> = known.iter().map(|k| (strsim::jaro_winkler(name, k), *k)).collect();
            near.retain(|(like, _)| *like >= LIKE);
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
            let near = near.into_iter().take(NEAR).map(|(_, k)| format!("{}/{k}", question.kind)).collect();
            Err(Error::Unknown { kind: question.kind, name: name.to_owned(), near })
        }
        several => Err(Error::Ambiguous { name: name.to_owned(), several: several.iter().map(ToString::to_string).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("node/ip-1", Some((Kind::Node, "ip-1")))]
    #[case("nodeclaim/default-a", Some((Kind::NodeClaim, "default-a")))]
    #[case("nodepool/default", Some((Kind::NodePool, "default")))]
    #[case("pod/other/inflate", Some((Kind::Pod, "other/inflate")))]
    #[case::no_namespace("pod/inflate", None)]
    #[case::too_much("node/a/b", None)]
    #[case::empty("node/", None)]
    #[case::no_kind("ip-1", None)]
    #[case::other_kind("deployment/other", None)]
    fn questions(#[case] text: &str, #[case] expected: Option<(Kind, &str)>) {
        let read = text.parse::<Question>();
        assert_eq!(read.clone().ok().map(|q| (q.kind, q.name)), expected.map(|(kind, name)| (kind, name.to_owned())));
        assert!(read.is_ok() || read.is_err_and(|error| error.to_string().contains("write node/NAME")));
    }

    #[rstest]
    #[case::whole("default-a", Ok("default-a"))]
    #[case::whole_that_is_a_prefix_too("default", Ok("default"))]
    #[case::prefix("spot", Ok("spot-c"))]
    #[case::two("default-", Err("default- may be any of default-a, default-b"))]
    #[case::misspelt(
        "defualt-a",
        Err("the run knows no nodeclaim defualt-a; did you mean nodeclaim/default-a or nodeclaim/default-b or nodeclaim/default?")
    )]
    #[case::nothing_like_it("zzz", Err("the run knows no nodeclaim zzz"))]
    fn names(#[case] name: &str, #[case] expected: Result<&str, &str>) {
        let known = ["default-a", "default-b", "spot-c", "default"];
        let question = Question { kind: Kind::NodeClaim, name: name.to_owned() };
        let found = resolve(&question, known.into_iter());
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }
}
