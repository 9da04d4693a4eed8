//! Instance profiles of a NodeClass with a role. Source: `A/pkg/providers/instanceprofile/instanceprofile.go`,
//! `A/pkg/controllers/nodeclass/instanceprofile.go`.

use super::tag_list;
use crate::cache::Cache;
use crate::port::CloudError;
use crate::wire::client::{Call, Client, Reply, lock};
use crate::wire::{Element, Service};
use ambient::{Entropy, Stream};
use api::EC2NodeClass;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use vocabulary::labels;

/// `InstanceProfileTTL`.
const KNOWN: SignedDuration = SignedDuration::from_mins(15);
/// `ProtectedProfilesTTL`: a profile that was made or replaced may be named by a NodeClaim that is not seen yet.
const PROTECTED: SignedDuration = SignedDuration::from_hours(1);
/// `DefaultTTL`: roles that do not exist, and profiles that were just made.
const SHORT: SignedDuration = SignedDuration::from_mins(1);

pub struct Profiles {
    region: String,
    cluster: String,
    names: Mutex<Stream>,
    /// Role by profile; `None` when the profile has none.
    roles: Mutex<Cache<String, Option<String>>>,
    missing_roles: Mutex<Cache<String, CloudError>>,
    /// The profile that was made last for a role and NodeClass uid: if the status could not be written, the next try finds it.
    made: Mutex<Cache<String, String>>,
    /// Not collected for a while, whoever uses them.
    protected: Mutex<Cache<String, ()>>,
}

impl Profiles {
    pub fn new(region: &str, cluster: &str, entropy: &Entropy) -> Self {
        Profiles {
            region: region.to_owned(),
            cluster: cluster.to_owned(),
            names: Mutex::new(entropy.stream("instance profile names")),
            roles: Mutex::new(Cache::new(KNOWN)),
            missing_roles: Mutex::new(Cache::new(SHORT)),
            made: Mutex::new(Cache::new(SHORT)),
            protected: Mutex::new(Cache::new(PROTECTED)),
        }
    }

    /// The name of a profile that carries the class's role; made when the one in the status does not.
    pub async fn ensure(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Result<String, CloudError> {
        let name = self.find_or_make(client, class, now).await?;
        let before = class.status.as_ref().and_then(|status| status.instance_profile.clone()).unwrap_or_default();
        if before != name {
            let mut protected = lock(&self.protected);
            protected.set(name.clone(), (), now);
            protected.set(before, (), now);
        }
        Ok(name)
    }

    async fn find_or_make(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Result<String, CloudError> {
        let Some(role) = class.spec.role.as_deref().filter(|role| !role.is_empty()) else {
            return Ok(class.spec.instance_profile.clone().unwrap_or_default());
        };
        let key = format!("{role}/{}", class.metadata.uid.as_deref().unwrap_or_default());
        let made = lock(&self.made).get(&key, now).cloned();
        let current = made.or_else(|| class.status.as_ref()?.instance_profile.clone()).filter(|name| !name.is_empty());
        if let Some(name) = current {
            match self.role_of(client, &name, now).await {
                Ok(held) if held.as_deref() == Some(role) => return Ok(name),
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let name = format!("{}_{}", self.cluster, lock(&self.names).next_u64());
        if let Err(error) = self.create(client, class, &name, role, now).await {
            // Keeps a role that cannot be added from leaving one profile behind per try.
            if let Err(left) = self.delete(client, &name).await {
                tracing::debug!(profile = name, error = left.to_string(), "instance profile was left behind");
            }
            return Err(error);
        }
        lock(&self.made).set(key, name.clone(), now);
        Ok(name)
    }

    async fn role_of(&self, client: &Client, name: &str, now: Timestamp) -> Result<Option<String>, CloudError> {
        if let Some(role) = lock(&self.roles).get(name, now) {
            return Ok(role.clone());
        }
        let role = role(&get(client, name).await?);
        lock(&self.roles).set(name.to_owned(), role.clone(), now);
        Ok(role)
    }

    async fn create(&self, client: &Client, class: &EC2NodeClass, name: &str, role_name: &str, now: Timestamp) -> Result<(), CloudError> {
        if let Some(error) = lock(&self.missing_roles).get(role_name, now) {
            return Err(error.clone());
        }
        let held = match self.role_of(client, name, now).await {
            Ok(role) => role,
            Err(error) if error.is_not_found() => {
                let path = self.path(class);
                let parameters = json!({"InstanceProfileName": name, "Tags": tag_list(&self.tags(class)), "Path": path});
                let reply = iam(client, "CreateInstanceProfile", parameters).await?;
                reply.child("InstanceProfile").and_then(role)
            }
            Err(error) => return Err(error),
        };
        if held.as_deref() != Some(role_name) {
            if let Some(held) = held {
                iam(client, "RemoveRoleFromInstanceProfile", json!({"InstanceProfileName": name, "RoleName": held})).await?;
            }
            // The call takes no paths: the role's bare name.
            let bare = role_name.rsplit('/').next().unwrap_or(role_name);
            if let Err(error) = iam(client, "AddRoleToInstanceProfile", json!({"InstanceProfileName": name, "RoleName": bare})).await {
                if error.is_role_not_found() {
                    lock(&self.missing_roles).set(role_name.to_owned(), error.clone(), now);
                }
                return Err(error);
            }
        }
        lock(&self.roles).set(name.to_owned(), Some(role_name.to_owned()), now);
        Ok(())
    }

    /// Deletes every profile of the class, the one with the older kind of name included.
    pub async fn clean_up(&self, client: &Client, class: &EC2NodeClass) -> Result<(), CloudError> {
        let call = Call::new(Service::Iam, "ListInstanceProfiles", json!({"PathPrefix": self.path(class)}));
        let pages = client.pages(call, "Marker", marker).await?;
        let found = pages.into_iter().map(Reply::xml).collect::<Vec<_>>();
        let names = found.iter().flat_map(|page| page.list("InstanceProfiles")).filter_map(|item| item.string("InstanceProfileName"));
        for name in names {
            self.delete(client, &name).await?;
        }
        let hash = fnv1(&format!("{}{}", self.region, class.metadata.name.as_deref().unwrap_or_default()));
        let legacy = format!("{}_{hash}", self.cluster);
        if is_profile_name(&legacy) { self.delete(client, &legacy).await } else { Ok(()) }
    }

    /// Deletes what was made for this cluster's NodeClasses and nobody uses; the names.
    pub async fn collect(&self, client: &Client, in_use: &BTreeSet<String>, now: Timestamp) -> Result<Vec<String>, CloudError> {
        let prefix = format!("/karpenter/{}/{}/", self.region, self.cluster);
        let call = Call::new(Service::Iam, "ListInstanceProfiles", json!({"PathPrefix": prefix}));
        let pages = client.pages(call, "Marker", marker).await?.into_iter().map(Reply::xml).collect::<Vec<_>>();
        let found = pages.iter().flat_map(|page| page.list("InstanceProfiles")).filter_map(|item| item.string("InstanceProfileName"));
        let mut deleted = Vec::new();
        for name in found {
            if in_use.contains(&name) || lock(&self.protected).get(&name, now).is_some() {
                continue;
            }
            self.delete(client, &name).await?;
            deleted.push(name);
        }
        Ok(deleted)
    }

    async fn delete(&self, client: &Client, name: &str) -> Result<(), CloudError> {
        let profile = match get(client, name).await {
            Ok(profile) => profile,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(role) = role(&profile) {
            iam(client, "RemoveRoleFromInstanceProfile", json!({"InstanceProfileName": name, "RoleName": role})).await?;
        }
        match iam(client, "DeleteInstanceProfile", json!({"InstanceProfileName": name})).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => {
                lock(&self.roles).remove(name);
                lock(&self.made).sweep(Timestamp::MIN);
                Ok(())
            }
        }
    }

    fn path(&self, class: &EC2NodeClass) -> String {
        format!("/karpenter/{}/{}/{}/", self.region, self.cluster, class.metadata.uid.as_deref().unwrap_or_default())
    }

    fn tags(&self, class: &EC2NodeClass) -> BTreeMap<String, String> {
        let mut tags = class.spec.tags.clone();
        tags.insert(format!("kubernetes.io/cluster/{}", self.cluster), "owned".to_owned());
        tags.insert(labels::TAG_CLUSTER_NAME.to_owned(), self.cluster.clone());
        tags.insert(labels::EC2NODECLASS.to_owned(), class.metadata.name.clone().unwrap_or_default());
        tags.insert(labels::REGION.to_owned(), self.region.clone());
        tags
    }
}

async fn iam(client: &Client, operation: &'static str, parameters: Value) -> Result<Element, CloudError> {
    Ok(client.call(&Call::new(Service::Iam, operation, parameters)).await?.xml())
}

async fn get(client: &Client, name: &str) -> Result<Element, CloudError> {
    let reply = iam(client, "GetInstanceProfile", json!({"InstanceProfileName": name})).await?;
    Ok(reply.child("InstanceProfile").cloned().unwrap_or_default())
}

fn role(profile: &Element) -> Option<String> {
    profile.list("Roles").next()?.string("RoleName")
}

fn marker(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Xml(result) if result.boolean(&["IsTruncated"]) == Some(true) => result.string("Marker"),
        _ => None,
    }
}

/// FNV-1 with 64 bits, which is what hashstructure makes of a string.
fn fnv1(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte))
}

/// IAM's rule for names of instance profiles.
fn is_profile_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_go_does() {
        // Go: fnv.New64() over "a" and "foobar".
        assert_eq!(fnv1("a"), 0xaf63_bd4c_8601_b7be);
        assert_eq!(fnv1("foobar"), 0x340d_8765_a4dd_a9c2);
    }
}
