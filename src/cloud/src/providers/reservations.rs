//! Capacity reservations of a NodeClass, and how many machines are left in each. Source: `A/pkg/providers/capacityreservation`.

use super::{filter, tag_filters};
use crate::cache::Cache;
use crate::port::CloudError;
use crate::wire::Element;
use crate::wire::client::{Client, lock};
use api::ec2nodeclass::{CapacityReservation, CapacityReservationSelectorTerm};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// `DefaultTTL`.
const FRESH: SignedDuration = SignedDuration::from_mins(1);
/// `CapacityReservationAvailabilityTTL`.
const COUNTED: SignedDuration = SignedDuration::from_hours(24);
/// EC2 takes back the machines of a capacity block half an hour before its end, and says so ten minutes earlier
/// (`A/pkg/apis/v1/ec2nodeclass_status.go`, CapacityReservationFromEC2).
const EXPIRING: SignedDuration = SignedDuration::from_mins(40);

pub const CAPACITY_BLOCK: &str = "capacity-block";

pub struct Reservations {
    state: Mutex<State>,
}

struct State {
    /// What a query found, by the query.
    found: Cache<String, Vec<Found>>,
    /// Machines that are left, by reservation.
    left: Cache<String, i64>,
    /// Grows whenever a count changed.
    changes: u64,
}

#[derive(Clone, Debug)]
struct Found {
    reservation: CapacityReservation,
    left: i64,
}

impl Default for Reservations {
    fn default() -> Self {
        Reservations { state: Mutex::new(State { found: Cache::new(FRESH), left: Cache::new(COUNTED), changes: 0 }) }
    }
}

impl Reservations {
    /// Those that the terms select and that have not ended, by id. No term selects none.
    pub async fn resolve(
        &self,
        client: &Client,
        terms: &[CapacityReservationSelectorTerm],
        now: Timestamp,
    ) -> Result<Vec<CapacityReservation>, CloudError> {
        let mut all: BTreeMap<String, CapacityReservation> = BTreeMap::new();
        for query in queries(terms) {
            let key = query.to_string();
            let known = lock(&self.state).found.get(&key, now).cloned();
            let found = match known {
                Some(found) => found,
                None => self.ask(client, key, query, now).await?,
            };
            for Found { reservation, .. } in found {
                all.entry(reservation.id.clone()).or_insert(reservation);
            }
        }
        let lasting = all.into_values().filter(|reservation| reservation.end_time.is_none_or(|end| end > now));
        Ok(lasting.map(|reservation| dated(reservation, now)).collect())
    }

    async fn ask(&self, client: &Client, key: String, query: Value, now: Timestamp) -> Result<Vec<Found>, CloudError> {
        let pages = match client.ec2_pages("DescribeCapacityReservations", query).await {
            Err(error) if error.is_not_found() => Vec::new(),
            answer => answer?,
        };
        let found: Vec<Found> = pages.iter().flat_map(|page| page.list("capacityReservationSet")).filter_map(read).collect();
        let mut state = lock(&self.state);
        for Found { reservation, left } in &found {
            state.count(&reservation.id, *left, now);
        }
        state.found.set(key, found.clone(), now);
        Ok(found)
    }

    /// Machines that are left; none in a reservation that nobody asked about.
    pub fn left(&self, id: &str, now: Timestamp) -> u32 {
        lock(&self.state).left.get(id, now).and_then(|left| u32::try_from(*left).ok()).unwrap_or(0)
    }

    /// A machine was launched into it.
    pub fn launched(&self, id: &str, now: Timestamp) {
        lock(&self.state).adjust(id, now, |left| (left - 1).max(0));
    }

    /// A machine of it is gone for good.
    pub fn terminated(&self, id: &str, now: Timestamp) {
        lock(&self.state).adjust(id, now, |left| left + 1);
    }

    /// EC2 says that nothing is left, until it is asked again.
    pub fn exhausted(&self, id: &str, now: Timestamp) {
        lock(&self.state).adjust(id, now, |_| 0);
    }

    /// Changes with every count.
    pub fn changes(&self) -> u64 {
        lock(&self.state).changes
    }
}

impl State {
    fn count(&mut self, id: &str, left: i64, now: Timestamp) {
        let before = self.left.get(id, now).copied();
        self.left.set(id.to_owned(), left, now);
        self.changes += u64::from(before != Some(left));
    }

    /// Reservations that nobody asked about stay unknown.
    fn adjust(&mut self, id: &str, now: Timestamp, change: impl FnOnce(i64) -> i64) {
        if let Some(left) = self.left.get(id, now).copied() {
            self.left.keep(id, change(left));
            self.changes += 1;
        }
    }
}

/// One for an id, one for everything else that a term says. An id with `MaxResults` would be refused.
fn queries(terms: &[CapacityReservationSelectorTerm]) -> Vec<Value> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut made = Vec::new();
    for term in terms {
        let active = || vec![filter("state", &["active"])];
        if let Some(id) = some(&term.id) {
            made.push(json!({"Filters": active(), "CapacityReservationIds": [id]}));
        }
        let criteria = some(&term.instance_match_criteria);
        if term.tags.is_empty() && criteria.is_none() {
            continue;
        }
        let mut filters = active();
        filters.extend(some(&term.owner_id).map(|owner| filter("owner-id", &[owner])));
        filters.extend(tag_filters(&term.tags));
        filters.extend(criteria.map(|criteria| filter("instance-match-criteria", &[criteria])));
        made.push(json!({"Filters": filters, "MaxResults": 1000}));
    }
    let mut seen = BTreeSet::new();
    made.retain(|query| seen.insert(query.to_string()));
    made
}

/// `None`, and an error in the log, for what upstream does not know how to use either.
fn read(item: &Element) -> Option<Found> {
    let id = item.string("capacityReservationId")?;
    let criteria = item.string("instanceMatchCriteria").unwrap_or_default();
    let kind = item.string("reservationType").filter(|kind| !kind.is_empty()).unwrap_or_else(|| "default".to_owned());
    let unusable = match (criteria.as_str(), kind.as_str()) {
        ("open" | "targeted", "default" | CAPACITY_BLOCK) => None,
        ("open" | "targeted", _) => Some("unsupported reservation type"),
        _ => Some("unsupported instance match criteria"),
    };
    if let Some(why) = unusable {
        tracing::error!(reservation = id, why, "failed to parse discovered capacity reservations");
        return None;
    }
    let reservation = CapacityReservation {
        availability_zone: item.string("availabilityZone").unwrap_or_default(),
        // Whole seconds, as the status holds them.
        end_time: item.number::<Timestamp>(&["endDate"]).and_then(|end| Timestamp::from_second(end.as_second()).ok()),
        id,
        instance_match_criteria: criteria,
        instance_type: item.string("instanceType").unwrap_or_default(),
        owner_id: item.string("ownerId").unwrap_or_default(),
        reservation_type: kind,
        interruptible: item.text_at(&["interruptible"]) == Some("true"),
        state: String::new(),
    };
    Some(Found { reservation, left: item.number(&["availableInstanceCount"]).unwrap_or(0) })
}

/// With its state at `now`.
fn dated(mut reservation: CapacityReservation, now: Timestamp) -> CapacityReservation {
    let reclaimed = reservation.end_time.and_then(|end| end.checked_sub(EXPIRING).ok()).is_some_and(|from| now >= from);
    let expiring = reservation.reservation_type == CAPACITY_BLOCK && reclaimed;
    reservation.state = if expiring { "expiring" } else { "active" }.to_owned();
    reservation
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[rstest]
    #[case("default", Some(60), 59, "active")]
    #[case(CAPACITY_BLOCK, Some(60), 19, "active")]
    #[case(CAPACITY_BLOCK, Some(60), 20, "expiring")]
    #[case(CAPACITY_BLOCK, None, 1_000, "active")]
    fn a_capacity_block_expires_forty_minutes_early(
        #[case] kind: &str,
        #[case] end: Option<i64>,
        #[case] now: i64,
        #[case] expected: &str,
    ) {
        let reservation =
            CapacityReservation { reservation_type: kind.to_owned(), end_time: end.map(at), ..CapacityReservation::default() };
        assert_eq!(dated(reservation, at(now)).state, expected);
    }

    #[test]
    fn a_term_asks_for_its_id_and_for_the_rest_apart() {
        let tags = BTreeMap::from([("purpose".to_owned(), "batch".to_owned()), ("team".to_owned(), "*".to_owned())]);
        let by_id = CapacityReservationSelectorTerm { id: Some("cr-1".to_owned()), ..Default::default() };
        let by_tags = CapacityReservationSelectorTerm { tags, owner_id: Some("111122223333".to_owned()), ..Default::default() };
        let owner_alone = CapacityReservationSelectorTerm { owner_id: Some("111122223333".to_owned()), ..Default::default() };
        let asked = queries(&[by_id.clone(), by_tags, by_id, owner_alone]);
        let state = json!({"Name": "state", "Values": ["active"]});
        let expected = [
            json!({"Filters": [state], "CapacityReservationIds": ["cr-1"]}),
            json!({
                "Filters": [
                    state,
                    {"Name": "owner-id", "Values": ["111122223333"]},
                    {"Name": "tag:purpose", "Values": ["batch"]},
                    {"Name": "tag-key", "Values": ["team"]},
                ],
                "MaxResults": 1000,
            }),
        ];
        assert_eq!(asked, expected);
    }

    #[test]
    fn launches_and_terminations_are_counted_between_two_answers() {
        let reservations = Reservations::default();
        reservations.launched("cr-1", at(0));
        assert_eq!((reservations.left("cr-1", at(0)), reservations.changes()), (0, 0), "nobody asked about it yet");
        lock(&reservations.state).count("cr-1", 2, at(0));
        reservations.launched("cr-1", at(0));
        assert_eq!(reservations.left("cr-1", at(0)), 1);
        reservations.terminated("cr-1", at(1));
        assert_eq!(reservations.left("cr-1", at(1)), 2);
        reservations.exhausted("cr-1", at(1));
        reservations.launched("cr-1", at(1));
        assert_eq!((reservations.left("cr-1", at(1)), reservations.changes()), (0, 5));
        assert_eq!(reservations.left("cr-1", at(24 * 60)), 0, "forgotten a day after the last answer");
    }
}
