//! Security groups of a NodeClass. Source: `A/pkg/providers/securitygroup/securitygroup.go`.

use super::subnets::class_key;
use super::{filter, tag_filters};
use crate::cache::Cache;
use crate::port::CloudError;
use crate::wire::client::{Client, lock};
use api::EC2NodeClass;
use api::ec2nodeclass::{SecurityGroup, SecurityGroupSelectorTerm};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// `DefaultTTL`.
const FRESH: SignedDuration = SignedDuration::from_mins(1);

pub struct SecurityGroups {
    found: Mutex<Cache<String, Vec<SecurityGroup>>>,
}

impl Default for SecurityGroups {
    fn default() -> Self {
        SecurityGroups { found: Mutex::new(Cache::new(FRESH)) }
    }
}

impl SecurityGroups {
    /// In order of id.
    pub async fn resolve(&self, client: &Client, class: &EC2NodeClass, now: Timestamp) -> Result<Vec<SecurityGroup>, CloudError> {
        let key = class_key(class);
        if let Some(found) = lock(&self.found).get(&key, now) {
            return Ok(found.clone());
        }
        let mut found: BTreeMap<String, SecurityGroup> = BTreeMap::new();
        for filters in filter_sets(&class.spec.security_group_selector_terms) {
            let pages = client.ec2_pages("DescribeSecurityGroups", json!({"Filters": filters, "MaxResults": 500})).await?;
            for item in pages.iter().flat_map(|page| page.list("securityGroupInfo")) {
                if let Some(id) = item.string("groupId") {
                    found.insert(id.clone(), SecurityGroup { id, name: item.string("groupName").unwrap_or_default() });
                }
            }
        }
        let groups: Vec<SecurityGroup> = found.into_values().collect();
        lock(&self.found).set(key, groups.clone(), now);
        Ok(groups)
    }
}

/// One set of filters per term by tags, one for all ids, one for all names.
fn filter_sets(terms: &[SecurityGroupSelectorTerm]) -> Vec<Vec<Value>> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (mut sets, mut ids, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for term in terms {
        match (some(&term.id), some(&term.name)) {
            (Some(id), _) => ids.push(id),
            (None, Some(name)) => names.push(name),
            (None, None) => sets.push(tag_filters(&term.tags)),
        }
    }
    for (name, values) in [("group-id", ids), ("group-name", names)] {
        if !values.is_empty() {
            sets.push(vec![filter(name, &values)]);
        }
    }
    sets
}
