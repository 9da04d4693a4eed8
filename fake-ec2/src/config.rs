//! What a cloud is made from. Two clouds from equal configurations that are asked the same at the same instants answer the same bytes.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// The whole configuration; `Default` is a fresh account in us-west-2.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub seed: u64,
    /// The region of requests that name none.
    pub region: String,
    /// The account's twelve digits.
    pub account: String,
    /// Access keys that are known, each with its secret. Other keys are the account's root unless `verify_signatures`.
    pub keys: BTreeMap<String, AccessKey>,
    /// Whether signatures are checked. Off: any key of any length is welcome, and so is an unsigned request.
    pub verify_signatures: bool,
    pub limits: Limits,
    /// What the services remember from the start (boot times, quotas, overrides …).
    pub world: crate::state::Settings,
}

/// A long-lived access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    pub secret: String,
    /// The session token that must come with it, if any.
    pub session_token: Option<String>,
    /// `arn:aws:iam::…:user/…` or `arn:aws:sts::…:assumed-role/…`.
    pub principal: String,
    pub user_id: String,
}

/// Bounds on what a request may ask of the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Deepest nesting of a value.
    pub depth: usize,
    /// Most parameters of a form; JSON is bounded by its body.
    pub parameters: usize,
    /// How far a signature's date may lie from now (SigV4: 5 to 15 minutes).
    pub clock_skew: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 2 << 20, depth: 32, parameters: 100_000, clock_skew: SignedDuration::from_mins(5) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            region: "us-west-2".into(),
            account: "123456789012".into(),
            keys: BTreeMap::new(),
            verify_signatures: false,
            limits: Limits::default(),
            world: crate::state::Settings::default(),
        }
    }
}
