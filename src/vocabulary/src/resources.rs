//! Named amounts: what a pod asks for, what a machine has.

use crate::quantity::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const PODS: &str = "pods";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// Amounts by resource name. Units: `cpu` in thousandths of a core, everything else in whole units (bytes, pieces), fractions
/// rounded up as the scheduler does. An absent name means zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(BTreeMap<Arc<str>, i64>);

impl Resources {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a Kubernetes resource list.
    pub fn from_quantities<'a>(list: impl IntoIterator<Item = (&'a str, Quantity)>) -> Self {
        Resources(list.into_iter().map(|(name, quantity)| (Arc::from(name), Self::unit(name, &quantity))).collect())
    }

    fn unit(name: &str, quantity: &Quantity) -> i64 {
        if name == CPU { quantity.milli_ceil() } else { quantity.ceil() }
    }

    /// The amount in this room's units; zero when absent.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(Arc::from(name), amount);
    }

    pub fn with(mut self, name: &str, amount: i64) -> Self {
        self.set(name, amount);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let slot = self.0.entry(name.clone()).or_insert(0);
            *slot = slot.saturating_add(*amount);
        }
    }

    /// Takes `other` away; names that `self` lacks become negative (`C/pkg/utils/resources/resources.go`, SubtractFrom).
    pub fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let slot = self.0.entry(name.clone()).or_insert(0);
            *slot = slot.saturating_sub(*amount);
        }
    }

    /// What is left of `self` without `other`; names that only `other` has are left out (`C/pkg/utils/resources/resources.go`,
    /// Subtract).
    pub fn minus(&self, other: &Resources) -> Resources {
        Resources(self.0.iter().map(|(name, amount)| (name.clone(), amount.saturating_sub(other.get(name)))).collect())
    }

    /// The larger amount of each name.
    pub fn max(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let slot = self.0.entry(name.clone()).or_insert(0);
            *slot = (*slot).max(*amount);
        }
    }

    pub fn sum<'a>(items: impl IntoIterator<Item = &'a Resources>) -> Resources {
        let mut total = Resources::new();
        for item in items {
            total.add(item);
        }
        total
    }

    /// Whether every amount of `self` is available in `room`. A room with a negative amount fits nothing
    /// (`C/pkg/utils/resources/resources.go`, Fits).
    pub fn fits(&self, room: &Resources) -> bool {
        self.first_exceeding(room).is_none()
    }

    /// The first name (in order of names) that does not fit into `room`.
    pub fn first_exceeding<'a>(&'a self, room: &'a Resources) -> Option<&'a str> {
        if let Some((name, _)) = room.0.iter().find(|(_, amount)| **amount < 0) {
            return Some(name);
        }
        self.0.iter().find(|(name, amount)| **amount > room.get(name)).map(|(name, _)| &**name)
    }

    /// As a Kubernetes resource list: `cpu` in `m` where not whole, others plain or in binary units where exact.
    pub fn to_quantities(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, amount)| (name.to_string(), Self::print(name, *amount))).collect()
    }

    /// One amount as Kubernetes prints it: `1930m`, `6903Mi`, `29`.
    pub fn print(name: &str, amount: i64) -> String {
        match name {
            CPU if amount % 1000 != 0 => format!("{amount}m"),
            CPU => (amount / 1000).to_string(),
            _ => match [(1i64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")]
                .iter()
                .find(|(unit, _)| amount != 0 && amount % unit == 0)
            {
                Some((unit, suffix)) => format!("{}{suffix}", amount / unit),
                None => amount.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn of(items: &[(&str, i64)]) -> Resources {
        items.iter().fold(Resources::new(), |made, (name, amount)| made.with(name, *amount))
    }

    #[rstest]
    #[case(&[("cpu", 1)], &[("cpu", 1)], None)]
    #[case(&[("cpu", 2)], &[("cpu", 1)], Some("cpu"))]
    #[case(&[("gpu", 1)], &[("cpu", 1)], Some("gpu"))]
    #[case(&[("gpu", 0)], &[("cpu", 1)], None)]
    #[case(&[], &[("memory", -1)], Some("memory"))]
    fn a_room_holds_what_it_has_and_nothing_when_overdrawn(
        #[case] asked: &[(&str, i64)],
        #[case] room: &[(&str, i64)],
        #[case] short: Option<&str>,
    ) {
        let (asked, room) = (of(asked), of(room));
        assert_eq!(asked.first_exceeding(&room), short);
        assert_eq!(asked.fits(&room), short.is_none());
    }

    #[test]
    fn minus_keeps_its_own_names_and_subtract_takes_on_the_others() {
        let (mut left, right) = (of(&[("cpu", 3)]), of(&[("cpu", 1), ("gpu", 1)]));
        assert_eq!(left.minus(&right), of(&[("cpu", 2)]));
        left.subtract(&right);
        assert_eq!(left, of(&[("cpu", 2), ("gpu", -1)]));
    }

    #[rstest]
    #[case("cpu", 1930, "1930m")]
    #[case("cpu", 2000, "2")]
    #[case("memory", 6903 << 20, "6903Mi")]
    #[case("memory", 75 << 30, "75Gi")]
    #[case("memory", 0, "0")]
    #[case("pods", 29, "29")]
    fn amounts_print_as_kubernetes_prints_them(#[case] name: &str, #[case] amount: i64, #[case] text: &str) {
        assert_eq!(Resources::print(name, amount), text);
        let read = Resources::from_quantities([(name, text.parse::<Quantity>().unwrap())]);
        assert_eq!(read.get(name), amount);
    }
}
