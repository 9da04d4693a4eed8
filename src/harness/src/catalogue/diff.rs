//! What one catalogue has that another has not.

use super::{File, Offer};
use serde_json::{Value, json};

/// One difference, from the first to the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The type.
    pub name: String,
    /// `type`, `zones`, `on-demand`, `spot ZONE`, or a path of the details.
    pub what: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Change {
    pub fn to_json(&self) -> Value {
        json!({"type": self.name, "what": self.what, "before": self.before, "after": self.after})
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {} {}: {after}", self.name, self.what),
            (Some(before), None) => write!(f, "- {} {}: {before}", self.name, self.what),
            (before, after) => {
                let text = |side: &Option<String>| side.clone().unwrap_or_default();
                write!(f, "~ {} {}: {} -> {}", self.name, self.what, text(before), text(after))
            }
        }
    }
}

/// All differences, by type. Zones of different regions are compared by their last letter.
pub fn diff(one: &File, two: &File) -> Vec<Change> {
    let mut changes = Vec::new();
    let names: std::collections::BTreeSet<&String> = one.types.keys().chain(two.types.keys()).collect();
    let across = one.region != two.region;
    for name in names {
        let shown = |offer: &Offer| offer.on_demand.as_ref().map_or("no price".to_owned(), |price| format!("${price}"));
        match (one.types.get(name), two.types.get(name)) {
            (Some(before), Some(after)) => compare(name, before, after, across, &mut changes),
            (before, after) => {
                changes.push(Change { name: name.clone(), what: "type".into(), before: before.map(shown), after: after.map(shown) });
            }
        }
    }
    changes
}

fn compare(name: &str, before: &Offer, after: &Offer, across: bool, changes: &mut Vec<Change>) {
    let mut note = |what: String, before: Option<String>, after: Option<String>| {
        if before != after {
            changes.push(Change { name: name.to_owned(), what, before, after });
        }
    };
    let zone = |zone: &String| if across { zone.chars().last().map(String::from).unwrap_or_default() } else { zone.clone() };
    let zones = |offer: &Offer| Some(offer.zones.iter().map(zone).collect::<Vec<_>>().join(" "));
    note("zones".into(), zones(before), zones(after));
    note("on-demand".into(), before.on_demand.clone(), after.on_demand.clone());
    let spot = |offer: &Offer| -> std::collections::BTreeMap<String, String> {
        offer.spot.iter().map(|(name, price)| (zone(name), price.clone())).collect()
    };
    let (old, new) = (spot(before), spot(after));
    for zone in old.keys().chain(new.keys().filter(|zone| !old.contains_key(*zone))) {
        note(format!("spot {zone}"), old.get(zone).cloned(), new.get(zone).cloned());
    }
    walk("", &before.details, &after.details, &mut note);
}

fn walk(path: &str, before: &Value, after: &Value, note: &mut impl FnMut(String, Option<String>, Option<String>)) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
        return note(path.to_owned(), text(before), text(after));
    };
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(&below, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), note);
    }
}
