//! Zones that ARC has shifted the cluster away from. Source: `A/pkg/providers/arczonalshift/provider.go`.

use crate::port::CloudError;
use crate::wire::Service;
use crate::wire::client::{Call, Client, lock};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Shared with whoever must leave the machines of shifted zones alone.
#[derive(Clone, Debug, Default)]
pub struct ZonalShifts {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the cluster; `None` while nobody looks for shifts.
    resource: Option<String>,
    /// By the zone's id.
    shifts: BTreeMap<String, Shift>,
}

#[derive(Clone, Copy, Debug)]
struct Shift {
    expires: Timestamp,
    applied: bool,
}

impl State {
    fn is_shifted(&self, zone_id: &str, now: Timestamp) -> bool {
        self.shifts.get(zone_id).is_some_and(|shift| shift.applied && shift.expires > now)
    }
}

impl ZonalShifts {
    /// Looks for shifts of this cluster from now on; an error when ARC does not know it.
    pub async fn watch(&self, client: &Client, cluster_arn: &str) -> Result<(), CloudError> {
        self.ask(client, cluster_arn).await?;
        lock(&self.state).resource = Some(cluster_arn.to_owned());
        Ok(())
    }

    pub async fn refresh(&self, client: &Client) -> Result<(), CloudError> {
        let resource = lock(&self.state).resource.clone();
        match resource {
            Some(arn) => self.ask(client, &arn).await,
            None => Ok(()),
        }
    }

    async fn ask(&self, client: &Client, arn: &str) -> Result<(), CloudError> {
        let call = Call::new(Service::ArcZonalShift, "GetManagedResource", json!({"resourceIdentifier": arn}));
        self.take(&client.call(&call).await?.json());
        Ok(())
    }

    /// No shift at all forgets those that were; else what is told comes on top of what was known, which ends by itself.
    fn take(&self, reply: &Value) {
        let found: BTreeMap<String, Shift> =
            reply.get("zonalShifts").and_then(Value::as_array).into_iter().flatten().filter_map(shift).collect();
        let mut state = lock(&self.state);
        if found.is_empty() {
            state.shifts.clear();
        }
        state.shifts.extend(found);
    }

    pub fn is_shifted(&self, zone_id: Option<&str>, now: Timestamp) -> bool {
        zone_id.is_some_and(|id| lock(&self.state).is_shifted(id, now))
    }

    /// Ids of the zones.
    pub fn shifted(&self, now: Timestamp) -> BTreeSet<String> {
        let state = lock(&self.state);
        state.shifts.keys().filter(|zone| state.is_shifted(zone, now)).cloned().collect()
    }

    /// When the next of them ends.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        lock(&self.state).shifts.values().filter(|shift| shift.applied).map(|shift| shift.expires).filter(|end| *end > now).min()
    }
}

/// `None` for what lacks a zone or an end (upstream would panic).
fn shift(item: &Value) -> Option<(String, Shift)> {
    let expires = item.get("expiryTime")?;
    let expires = match expires.as_f64() {
        // Seconds, with milliseconds.
        Some(seconds) => Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()?,
        None => expires.as_str()?.parse().ok()?,
    };
    let applied = item.get("appliedStatus").and_then(Value::as_str) == Some("APPLIED");
    Some((item.get("awayFrom")?.as_str()?.to_owned(), Shift { expires, applied }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn reply(shifts: &[(&str, i64, &str)]) -> Value {
        let shift = |(zone, end, status): &(&str, i64, &str)| json!({"awayFrom": zone, "expiryTime": end, "appliedStatus": status});
        json!({"zonalShifts": shifts.iter().map(shift).collect::<Vec<_>>()})
    }

    #[test]
    fn shifts_add_up_end_by_themselves_and_are_forgotten_when_there_are_none() {
        let shifts = ZonalShifts::default();
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let zones = |seconds| shifts.shifted(at(seconds)).into_iter().collect::<Vec<_>>().join(" ");
        shifts.take(&reply(&[("az1", 100, "APPLIED"), ("az2", 100, "NOT_APPLIED")]));
        assert_eq!((zones(0).as_str(), zones(100).as_str()), ("az1", ""));
        assert_eq!((shifts.next_end(at(0)), shifts.next_end(at(100))), (Some(at(100)), None));
        shifts.take(&reply(&[("az3", 200, "APPLIED")]));
        assert_eq!(zones(50), "az1 az3");
        assert!(shifts.is_shifted(Some("az3"), at(0)) && !shifts.is_shifted(Some("az2"), at(0)) && !shifts.is_shifted(None, at(0)));
        shifts.take(&reply(&[]));
        assert_eq!(zones(50), "");
    }
}
