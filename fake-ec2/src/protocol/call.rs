//! One request, parsed: the seam between the codecs and the services.

use serde_json::{Map, Value};

use crate::model::Service;

/// One parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub service: Service,
    /// The operation's name in the service model (`CreateFleet`).
    pub operation: &'static str,
    /// The region of the credential scope, else of the host, else the account's own.
    pub region: String,
    pub caller: Caller,
    /// The request id that the reply carries.
    pub request_id: String,
    /// The input, keyed by the model's **member** names (`InstanceIds`, `TagSpecifications`): structure = Object, list = Array,
    /// map = Object, timestamp = RFC 3339 text (`2026-11-20T17:00:00.000Z`), blob = base64 text, numbers = Number, boolean = Bool.
    /// Members that were not sent are absent. Required members have been checked.
    pub input: Map<String, Value>,
    /// Parameters that the model does not know, as they were called on the wire; kept for a log.
    pub unknown: Vec<String>,
    /// Pages of the answer are to hold at most so many items, by a fault.
    pub short_pages: Option<usize>,
}

/// Who calls: what the access key of the signature stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `None` for an unsigned request.
    pub access_key: Option<String>,
    /// The account's twelve digits.
    pub account: String,
    /// `arn:aws:iam::123456789012:user/dryfit`, or an assumed role's.
    pub principal: String,
    /// IAM's unique id (`AIDA…`, `AROA…:session`), as STS GetCallerIdentity tells it.
    pub user_id: String,
}
