//! Faults and delays as values: which requests they meet, and what becomes of those.

use jiff::{SignedDuration, Timestamp};

use crate::kube::Request;
use crate::status::Status;

/// Meets requests; empty or `None` means any.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `GET`, `POST`, …
    pub methods: Vec<String>,
    /// The path begins with this.
    pub path: String,
    /// The user agent contains this.
    pub user_agent: String,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// How many requests it meets at most.
    pub times: Option<u64>,
    pub action: Action,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Answers later.
    Delay(SignedDuration),
    /// Does not do it, and says so.
    Refuse(Status),
}

impl Default for Action {
    fn default() -> Action {
        Action::Delay(SignedDuration::ZERO)
    }
}

#[derive(Default)]
pub(crate) struct Rules(Vec<(Rule, u64)>);

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>) -> Rules {
        Rules(rules.into_iter().map(|rule| (rule, 0)).collect())
    }

    pub(crate) fn add(&mut self, rule: Rule) {
        self.0.push((rule, 0));
    }

    pub(crate) fn hits(&self) -> Vec<u64> {
        self.0.iter().map(|(_, hits)| *hits).collect()
    }

    /// The first refusal that meets the request, and the sum of the delays that do.
    pub(crate) fn meet(&mut self, now: Timestamp, request: &Request) -> (Option<Status>, SignedDuration) {
        let mut delay = SignedDuration::ZERO;
        for (rule, hits) in &mut self.0 {
            if !rule.meets(now, request) || rule.times.is_some_and(|times| *hits >= times) {
                continue;
            }
            *hits += 1;
            match &rule.action {
                Action::Delay(more) => delay = delay.saturating_add(*more),
                Action::Refuse(status) => return (Some(status.clone()), delay),
            }
        }
        (None, delay)
    }
}

impl Rule {
    fn meets(&self, now: Timestamp, request: &Request) -> bool {
        let agent = request.headers().get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method().as_str()))
            && request.uri().path().starts_with(&self.path)
            && agent.contains(&self.user_agent)
            && self.from.is_none_or(|from| now >= from)
            && self.until.is_none_or(|until| now < until)
    }
}
