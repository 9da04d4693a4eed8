//! What is global in an account: identity, chance, agenda, IAM, faults, costs.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agenda::Agenda;
use super::denial::Denials;
use super::entropy::Entropy;
use super::iam::Iam;
use super::machine::Ledger;
use super::rules::{ActiveRule, Buckets, matches_operation};
use super::settings::Settings;
use crate::kept::pairs;

/// The account.
#[derive(Debug, Serialize, Deserialize)]
pub struct Account {
    /// The twelve digits.
    pub id: String,
    /// The region that settings without a region are about.
    pub home: String,
    pub(crate) settings: Settings,
    pub(crate) entropy: Entropy,
    pub(crate) agenda: Agenda,
    pub(crate) iam: Iam,
    pub(crate) rules: Vec<ActiveRule>,
    pub(crate) buckets: Buckets,
    /// What was answered to a client token: by (region, operation, token).
    #[serde(with = "pairs")]
    pub(crate) tokens: BTreeMap<Token, Remembered>,
    /// The same tokens, the oldest first.
    tokens_by_age: VecDeque<Token>,
    pub(crate) denials: Denials,
    pub(crate) ledger: Ledger,
    /// Counts the changes of anything that `machines` shows.
    pub(crate) machines_version: u64,
    /// Somebody has changed Spot prices, or may have.
    pub(crate) prices_changed: bool,
    /// The caller reads EC2's XML: long lists may hold what was written before.
    #[serde(skip)]
    pub(crate) writes_xml: bool,
}

/// Region, operation, client token.
pub(crate) type Token = (String, String, String);

/// How many client tokens are remembered: SDKs send one with each launch. EC2 forgets them, too, when what they made is gone for long.
const MOST_TOKENS: usize = 10_000;

/// A request that was answered under a client token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub fingerprint: [u8; 32],
    pub answer: Value,
}

impl Account {
    pub(crate) fn new(seed: u64, id: &str, home: &str, settings: Settings) -> Self {
        Self {
            id: id.to_owned(),
            home: home.to_owned(),
            rules: settings.rules.iter().cloned().map(ActiveRule::new).collect(),
            settings,
            entropy: Entropy::new(seed),
            agenda: Agenda::default(),
            iam: Iam::default(),
            buckets: Buckets::default(),
            tokens: BTreeMap::new(),
            tokens_by_age: VecDeque::new(),
            denials: Denials::default(),
            ledger: Ledger::default(),
            machines_version: 0,
            prices_changed: false,
            writes_xml: false,
        }
    }

    /// Remembers what was answered to a token; the oldest of very many is forgotten.
    pub(crate) fn remember(&mut self, token: Token, remembered: Remembered) {
        if self.tokens_by_age.len() >= MOST_TOKENS
            && let Some(oldest) = self.tokens_by_age.pop_front()
        {
            self.tokens.remove(&oldest);
        }
        self.tokens_by_age.push_back(token.clone());
        self.tokens.insert(token, remembered);
    }

    /// How long the reply of an operation takes.
    pub(crate) fn latency(&mut self, operation: &str) -> SignedDuration {
        let row = self.settings.latency.iter().rev().find(|row| matches_operation(&row.operation, operation));
        let Some(delay) = row.map(|row| row.delay) else { return SignedDuration::ZERO };
        self.entropy.delay("latency", delay)
    }

    /// From when on EC2 knows what IAM was told now.
    pub(crate) fn iam_reaches_ec2(&mut self, now: jiff::Timestamp) -> jiff::Timestamp {
        let delay = self.settings.iam_propagation.profiles;
        if delay == super::settings::Delay::ZERO { now } else { super::lifecycle::later(now, self.entropy.delay("iam-propagation", delay)) }
    }

    /// A change of users, roles or policies that was made to what was `before`: decisions go by it later.
    pub(crate) fn iam_changed(&mut self, now: jiff::Timestamp, before: super::iam::Iam) {
        let delay = self.entropy.delay("iam-policies", self.settings.iam_propagation.policies);
        self.iam.changed(now, before, super::lifecycle::later(now, delay));
    }

    /// When what is made now will be found.
    pub(crate) fn found_from(&mut self, now: jiff::Timestamp, delay: super::settings::Delay) -> jiff::Timestamp {
        if delay == super::settings::Delay::ZERO { now } else { super::lifecycle::later(now, self.entropy.delay("consistency", delay)) }
    }

    /// `arn:aws:<service>:<region>:<account>:<rest>`
    pub(crate) fn arn(&self, service: &str, region: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{region}:{}:{rest}", partition(region), self.id)
    }
}

/// The partition of a region; global services ask with an empty one.
pub(crate) fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
