//! Users, roles, policies, instance profiles, identity providers, and the keys that were given out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::network::Tags;
use crate::config::AccessKey;
use crate::policy::{Kind, Policy, document::Fault};

/// Whether policies decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IamMode {
    /// Policies are kept and never asked.
    #[default]
    Off,
    /// They are asked; what they would deny is noted and done all the same.
    Log,
    /// What they deny is not done.
    Enforce,
}

impl std::str::FromStr for IamMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "log" => Ok(Self::Log),
            "enforce" => Ok(Self::Enforce),
            other => Err(format!("`{other}` is not off, log or enforce")),
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Iam {
    /// By name.
    pub roles: BTreeMap<String, Role>,
    /// By name.
    pub users: BTreeMap<String, User>,
    /// By name.
    pub profiles: BTreeMap<String, InstanceProfile>,
    /// The account's own managed policies, by ARN.
    pub policies: BTreeMap<String, ManagedPolicy>,
    /// OIDC identity providers, by ARN.
    pub providers: BTreeMap<String, Provider>,
    /// Users' access keys, by id.
    pub keys: BTreeMap<String, UserKey>,
    /// What STS gave out, by access key.
    pub sessions: BTreeMap<String, Session>,
    /// What decisions go by until what came later has reached every place that decides: first what ends first.
    #[serde(default)]
    pub earlier: Vec<Earlier>,
}

/// Users, roles and policies as they were.
#[derive(Debug, Serialize, Deserialize)]
pub struct Earlier {
    pub until: Timestamp,
    pub iam: Iam,
}

/// How many changes are under way at once; of more, the youngest arrive together.
const MOST_UNDER_WAY: usize = 64;

/// A policy's text with what it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Document {
    pub text: String,
    kind: Kind,
    #[serde(skip)]
    pub policy: Arc<Policy>,
}

impl Document {
    pub fn read(text: &str, kind: Kind) -> Result<Self, Fault> {
        Ok(Self { text: text.to_owned(), kind, policy: Arc::new(Policy::read(text, kind)?) })
    }
}

/// A document as it is written down: what it says is read anew.
#[derive(Deserialize)]
struct Written {
    text: String,
    kind: Kind,
}

impl TryFrom<Written> for Document {
    type Error = Fault;

    fn try_from(written: Written) -> Result<Self, Fault> {
        Document::read(&written.text, written.kind)
    }
}

/// How many sessions are remembered at least; of more, those that ended first are forgotten.
pub const MOST_SESSIONS: usize = 10_000;

/// What a user or a role may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Permissions {
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, Document>,
    /// ARN of the policy that caps the others.
    pub boundary: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub description: Option<String>,
    pub trust: Document,
    pub max_session_seconds: i64,
    pub created: Timestamp,
    pub tags: Tags,
    pub permissions: Permissions,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    pub tags: Tags,
    pub permissions: Permissions,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct UserKey {
    pub user: String,
    pub created: Timestamp,
    pub key: AccessKey,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManagedPolicy {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub description: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub tags: Tags,
    pub default_version: u64,
    /// Numbers are not used again.
    pub versions: BTreeMap<u64, PolicyVersion>,
    pub latest: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyVersion {
    pub document: Document,
    pub created: Timestamp,
}

/// A session of a role.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    /// Session policies that came with the request, by name.
    pub policies: Vec<(String, Document)>,
    /// Session tags.
    pub tags: Tags,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Provider {
    pub arn: String,
    /// Without scheme, as IAM shows it.
    pub url: String,
    pub clients: Vec<String>,
    pub thumbprints: Vec<String>,
    pub created: Timestamp,
    pub tags: Tags,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct InstanceProfile {
    pub name: String,
    pub path: String,
    pub id: String,
    pub arn: String,
    pub created: Timestamp,
    pub tags: Tags,
    /// Role names; IAM allows one.
    pub roles: Vec<String>,
    /// From when on EC2 knows it.
    pub known: Timestamp,
}

impl Iam {
    /// The document of a managed policy as it is in force: the account's, or one of AWS's that is known here.
    pub fn managed(&self, arn: &str) -> Option<Document> {
        if let Some(policy) = self.policies.get(arn) {
            return policy.versions.get(&policy.default_version).map(|version| version.document.clone());
        }
        Document::read(crate::policy::reference::managed_policy(arn)?, Kind::Identity).ok()
    }

    /// Remembers a session. Of very many, those are forgotten that have ended; their keys are unknown then, and no longer expired.
    pub fn begin_session(&mut self, now: Timestamp, id: String, session: Session) {
        if self.sessions.len() >= MOST_SESSIONS {
            let mut ends: Vec<Timestamp> = self.sessions.values().map(|held| held.expires).filter(|expires| *expires <= now).collect();
            ends.sort_unstable();
            let middle = ends.get(ends.len() / 2).copied();
            self.sessions.retain(|_, held| middle.is_none_or(|middle| held.expires > middle));
        }
        self.sessions.insert(id, session);
    }

    /// Users, roles and policies as decisions know them. Source: IAM user guide, "Troubleshoot IAM: changes that I make are not always
    /// immediately visible".
    pub fn in_force(&self, now: Timestamp) -> &Iam {
        self.earlier.iter().find(|earlier| now < earlier.until).map_or(self, |earlier| &earlier.iam)
    }

    /// What was under way has arrived.
    pub fn arrive(&mut self, now: Timestamp) {
        self.earlier.retain(|earlier| now < earlier.until);
    }

    /// What decisions go by, to be kept while a change is under way.
    pub fn as_it_is(&self) -> Iam {
        Iam { roles: self.roles.clone(), users: self.users.clone(), policies: self.policies.clone(), ..Iam::default() }
    }

    /// A change was made to what was `before`, and is in force from `at` on, and not before changes that came earlier.
    pub fn changed(&mut self, now: Timestamp, before: Iam, at: Timestamp) {
        self.arrive(now);
        let many = self.earlier.len() >= MOST_UNDER_WAY;
        let last = self.earlier.last_mut();
        let until = last.as_ref().map_or(at, |last| last.until.max(at));
        match last {
            Some(last) if many => last.until = until,
            _ => self.earlier.push(Earlier { until, iam: before }),
        }
    }

    pub fn role_by_arn(&self, arn: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.arn == arn)
    }
}
