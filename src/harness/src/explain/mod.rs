//! Answers why, from a run's record: why this type, why still there, why Pending.
//!
//! Pure: a trace goes in as text, an [`Answer`] comes out as data, and [`text()`] puts it into words. Every fact is read from the
//! record; what the record does not hold is not said.
//!
//! Map: [`seen`] is what the trace keeps of objects; [`record`] reads a trace back; `question` finds what is asked about;
//! `machine` follows NodeClaims and nodes; `node`, `stay`, `command`, `drain`, `pod`, `pool` and `condition` answer; `words` has the sentences of the planner's
//! verdicts; `text` prints; [`run()`] makes the record of a scenario.

mod command;
mod condition;
mod drain;
mod machine;
mod node;
mod pod;
mod pool;
mod question;
mod record;
mod run;
pub mod seen;
mod stay;
mod text;
pub mod words;

pub use question::{Kind, Question};
pub use record::Record;
pub use run::{Ran, run};
pub use text::text;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// Milliseconds since the story began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(i64);

impl At {
    pub fn from_millis(millis: i64) -> Self {
        At(millis)
    }

    fn from_seconds(seconds: f64) -> Option<Self> {
        SignedDuration::try_from_secs_f64(seconds).ok().and_then(At::from_duration)
    }

    /// To the nearest millisecond; `None` beyond the calendar.
    pub fn from_duration(duration: SignedDuration) -> Option<Self> {
        let micros = duration.as_micros();
        i64::try_from(micros.saturating_add(500).div_euclid(1000)).ok().map(At)
    }

    fn since(self, zero: At) -> At {
        At(self.0.saturating_sub(zero.0))
    }

    fn plus(self, span: SignedDuration) -> At {
        At(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::str::FromStr for At {
    type Err = String;

    /// `3m20s`, `80.5s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let duration = text.parse::<SignedDuration>().map_err(|_| "a time is written as 3m20s or 80.5s".to_owned())?;
        At::from_duration(duration).ok_or_else(|| "that is beyond every calendar".to_owned())
    }
}

impl fmt::Display for At {
    /// As the timeline prints it: `41.3s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^53")]
        let seconds = self.0 as f64 / 1000.0;
        write!(f, "{seconds:.1}s")
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^53")]
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

/// What came of a question. `at` and all other times are seconds since the story began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// `node/…`, `nodeclaim/…`, `pod/…/…`, `nodepool/…`, with the whole name.
    pub object: String,
    pub at: At,
    pub sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    pub title: &'static str,
    pub facts: Vec<Fact>,
}

/// One statement: in words, with the data of the record that it is made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fact {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    pub says: String,
    /// Further lines that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Fact {
    fn new(at: impl Into<Option<At>>, says: impl Into<String>) -> Fact {
        Fact { at: at.into(), says: says.into(), more: Vec::new(), data: Value::Null }
    }

    fn with(mut self, data: Value) -> Fact {
        self.data = data;
        self
    }

    fn more(mut self, lines: impl IntoIterator<Item = String>) -> Fact {
        self.more.extend(lines);
        self
    }
}

/// A question that cannot be answered, or a record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("line {line} is not a whole line of a trace: {why}")]
    Line { line: usize, why: String },
    #[error("the trace does not say when the story began: its run broke before the first step, or an older dryfit wrote it")]
    NoStory,
    #[error("the trace holds no decisions: only the built-in controller tells why it did what it did")]
    NoDecisions,
    #[error(
        "{0:?} names nothing that can be explained: write node/NAME, nodeclaim/NAME, nodepool/NAME, ec2nodeclass/NAME or pod/NAMESPACE/NAME"
    )]
    Question(String),
    #[error("{at} is before the beginning: the story begins at 0s")]
    BeforeTheBeginning { at: At },
    #[error("{at} is after the end: the run ended at {end}")]
    AfterTheEnd { at: At, end: At },
    #[error("the run knows no {kind} {name}{}", hint(near))]
    Unknown { kind: Kind, name: String, near: Vec<String> },
    #[error("{name} may be any of {}", several.join(", "))]
    Ambiguous { name: String, several: Vec<String> },
}

fn hint(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Answers from the record. Without `at`: as of the end of the run.
pub fn explain(record: &Record, question: &Question, at: Option<At>) -> Result<Answer, Error> {
    let at = at.unwrap_or(record.end);
    if at < At::default() {
        return Err(Error::BeforeTheBeginning { at });
    }
    if at > record.end {
        return Err(Error::AfterTheEnd { at, end: record.end });
    }
    match question.kind {
        Kind::Node | Kind::NodeClaim => node::answer(record, question, at),
        Kind::Pod => pod::answer(record, question, at),
        Kind::NodePool => pool::answer(record, question, at),
        Kind::EC2NodeClass => condition::answer(record, question, at),
    }
}
