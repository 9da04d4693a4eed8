//! Tags on whatever has an id.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Members, Out, Read};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::network::Tags;

/// Most tags of a resource, AWS's own not counted. Source: EC2 user guide, "Tag restrictions".
const MOST: usize = 50;

/// Tags as they are rendered.
pub(in crate::services) fn render(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// Reads a list of `{Key, Value}`.
pub(in crate::services) fn read(list: &[Value]) -> Tags {
    list.iter()
        .filter_map(|tag| {
            let value = tag.member("Value").and_then(Value::as_str).unwrap_or_default();
            Some((tag.text("Key")?.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `TagSpecifications` of a request: tags by resource type.
pub(in crate::services) fn by_resource(input: &Members) -> Result<BTreeMap<String, Tags>, AwsError> {
    let mut all: BTreeMap<String, Tags> = BTreeMap::new();
    for specification in input.list("TagSpecifications") {
        let kind = specification.text("ResourceType").unwrap_or_default().to_owned();
        let tags = read(specification.list("Tags"));
        check(&tags)?;
        all.entry(kind).or_default().extend(tags);
    }
    Ok(all)
}

/// The tags of a request for one resource type.
pub(in crate::services) fn for_resource(input: &Members, kind: &str) -> Result<Tags, AwsError> {
    Ok(by_resource(input)?.remove(kind).unwrap_or_default())
}

fn check(tags: &Tags) -> Result<(), AwsError> {
    if tags.keys().any(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(errors::TAG_RESERVED.error(&[]));
    }
    // Source: EC2 user guide, "Tag restrictions".
    let long = |text: &str, most: usize| text.chars().count() > most;
    if let Some(key) = tags.keys().find(|key| long(key, 128)) {
        return Err(errors::TAG_KEY.error(&[key]));
    }
    if let Some(value) = tags.values().find(|value| long(value, 256)) {
        return Err(errors::TAG_VALUE.error(&[value]));
    }
    if tags.len() > MOST { Err(errors::TAG_LIMIT.error(&[])) } else { Ok(()) }
}

pub(in crate::services) fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let tags = read(call.input.list("Tags"));
    check(&tags)?;
    let ids = known_ids(world, call)?;
    for id in &ids {
        let held = find(world, id).map(|held| held.keys().filter(|key| !key.starts_with("aws:") && !tags.contains_key(*key)).count());
        if held.unwrap_or(0) + tags.len() > MOST {
            return Err(errors::TAG_LIMIT.error(&[]));
        }
    }
    super::dry_run(call)?;
    for id in &ids {
        if let Some(held) = find(world, id) {
            held.extend(tags.clone());
        }
    }
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

/// Deletes tags by key, or by key and value where a value is sent; all of them where none is named.
pub(in crate::services) fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let ids = known_ids(world, call)?;
    super::dry_run(call)?;
    for id in &ids {
        let Some(held) = find(world, id) else { continue };
        let named = call.input.list("Tags");
        if named.is_empty() {
            held.retain(|key, _| key.starts_with("aws:"));
        }
        for tag in named {
            let Some(key) = tag.text("Key") else { continue };
            let wanted = tag.member("Value").and_then(Value::as_str);
            if wanted.is_none_or(|wanted| held.get(key).is_some_and(|value| value == wanted)) {
                held.remove(key);
            }
        }
    }
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

fn known_ids(world: &mut World<'_>, call: &Call) -> Result<Vec<String>, AwsError> {
    let ids: Vec<String> = call.input.texts("Resources").into_iter().map(str::to_owned).collect();
    for id in &ids {
        if find(world, id).is_none() {
            return Err(not_found(id));
        }
    }
    Ok(ids)
}

/// EC2 answers in the words of the resource's kind.
fn not_found(id: &str) -> AwsError {
    let row = match id.split('-').next() {
        Some("i") => &errors::INSTANCE_NOT_FOUND,
        Some("subnet") => &errors::SUBNET_NOT_FOUND,
        Some("sg") => &errors::GROUP_NOT_FOUND,
        Some("vpc") => &errors::VPC_NOT_FOUND,
        Some("vol") => &errors::VOLUME_NOT_FOUND,
        Some("eni") => &errors::INTERFACE_NOT_FOUND,
        Some("ami") => &errors::IMAGE_NOT_FOUND,
        Some("lt") => &errors::TEMPLATE_ID_NOT_FOUND,
        _ => &errors::TAG_TARGET,
    };
    row.error(&[id])
}

fn find<'a>(world: &'a mut World<'_>, id: &str) -> Option<&'a mut Tags> {
    let region = &mut *world.region;
    match id.split('-').next()? {
        "i" => region.instances.get_mut(id).filter(|it| it.found <= world.now).map(|found| &mut found.tags),
        "cr" => region.reservations.get_mut(id).map(|found| &mut found.tags),
        "pg" => region.placement_groups.values_mut().find(|group| group.id == id).map(|found| &mut found.tags),
        "subnet" => region.subnets.get_mut(id).filter(|it| it.found <= world.now).map(|found| &mut found.tags),
        "sg" => region.groups.get_mut(id).filter(|it| it.found <= world.now).map(|found| &mut found.tags),
        "vpc" => region.vpcs.get_mut(id).map(|found| &mut found.tags),
        "vol" => region.volumes.get_mut(id).map(|found| &mut found.tags),
        "eni" => region.interfaces.get_mut(id).map(|found| &mut found.tags),
        "ami" => region.images.get_mut(id).map(|found| &mut found.tags),
        "lt" => region.templates.values_mut().find(|template| template.id == id).map(|found| &mut found.tags),
        _ => None,
    }
}

const FILTERS: Table = &[("key", "Key"), ("resource-id", "ResourceId"), ("resource-type", "ResourceType"), ("value", "Value")];

pub(in crate::services) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let region = &*world.region;
    let all = (region.instances.iter().map(|(id, it)| (id, "instance", &it.tags)))
        .chain(region.subnets.iter().map(|(id, it)| (id, "subnet", &it.tags)))
        .chain(region.groups.iter().map(|(id, it)| (id, "security-group", &it.tags)))
        .chain(region.vpcs.iter().map(|(id, it)| (id, "vpc", &it.tags)))
        .chain(region.volumes.iter().map(|(id, it)| (id, "volume", &it.tags)))
        .chain(region.interfaces.iter().map(|(id, it)| (id, "network-interface", &it.tags)))
        .chain(region.images.iter().map(|(id, it)| (id, "image", &it.tags)))
        .chain(region.templates.values().map(|it| (&it.id, "launch-template", &it.tags)));
    let mut rows = Vec::new();
    for (id, kind, tags) in all {
        for (key, value) in tags {
            let row = json!({"Key": key, "ResourceId": id, "ResourceType": kind, "Value": value});
            if filters.pass(&row) {
                rows.push((format!("{id}\u{0}{key}"), row));
            }
        }
    }
    let (tags, token) = page::cut(call, Pages::capped(5, 1000), rows)?;
    Ok(Out::new().with("Tags", tags).maybe("NextToken", token).done())
}
