//! Parameters that the account put.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::network::Tags;

#[derive(Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// `String`, `StringList`, `SecureString`.
    pub kind: String,
    pub value: String,
    pub version: i64,
    pub description: Option<String>,
    pub data_type: String,
    pub modified: Timestamp,
    pub tags: Tags,
}
