//! NodeOverlays: other prices and additional resources of instance types, by NodePool.
//!
//! Source: `C/pkg/controllers/nodeoverlay/{controller,store}.go`, `C/pkg/cloudprovider/types.go`.

use crate::input::{InstanceType, Labels, Offering, Offerings};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vocabulary::{Requirement, Requirements, Resources, UsdPerHour, labels};

/// A NodeOverlay whose own fields are in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    pub name: Arc<str>,
    /// Unset counts as 0; heavier ones come first.
    pub weight: i32,
    pub requirements: Requirements,
    pub price: Option<PriceChange>,
    pub capacity: Resources,
}

/// `price` or `priceAdjustment`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PriceChange {
    To(f64),
    By(f64),
    /// In percent.
    Scaled(f64),
}

impl PriceChange {
    /// Reads either field: `0.05`, `+0.1`, `-10%`. `None` for what is no number.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
        let value: f64 = number.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some(match (text.starts_with(['+', '-']), percent) {
            (true, true) => PriceChange::Scaled(value),
            (true, false) => PriceChange::By(value),
            (false, _) => PriceChange::To(value),
        })
    }

    /// Never below nothing.
    pub fn apply(self, price: UsdPerHour) -> UsdPerHour {
        let changed = match self {
            PriceChange::To(value) => value,
            PriceChange::By(value) => (price.dollars() + value).max(0.0),
            PriceChange::Scaled(percent) => (price.dollars() * (1.0 + percent / 100.0)).max(0.0),
        };
        UsdPerHour::new(changed).unwrap_or(price)
    }
}

/// What the overlays make of the instance types of each pool.
#[derive(Clone, Debug, Default)]
pub struct Overlays {
    by_pool: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Update>>,
    /// Pools that the overlays were held against; of no other is anything said.
    evaluated: BTreeSet<Arc<str>>,
    /// Prices of types that are named outright, which count where the price list has none.
    named: BTreeMap<Arc<str>, UsdPerHour>,
}

#[derive(Clone, Debug, Default)]
struct Update {
    /// By an offering's requirements: the change, and the weight of the last overlay that is about it.
    prices: IndexMap<Requirements, (PriceChange, i32)>,
    capacity: Resources,
    /// Weight and resources of the last overlay that adds some. Only that one is compared, as upstream does.
    last: Option<(i32, Resources)>,
}

/// A pool's name and the labels of its template.
pub type PoolLabels<'a> = (&'a Arc<str>, &'a Labels);

/// Holds overlays, in any order, against the pools that have offerings. The second is the names of those that contradict one of
/// the same weight: nothing of them is applied.
pub fn evaluate(pools: &[PoolLabels<'_>], offerings: &Offerings, overlays: &[Overlay]) -> (Overlays, BTreeSet<Arc<str>>) {
    let mut made =
        Overlays { by_pool: BTreeMap::new(), evaluated: pools.iter().map(|(name, _)| (*name).clone()).collect(), named: BTreeMap::new() };
    let mut conflicts = BTreeSet::new();
    let mut ordered: Vec<&Overlay> = overlays.iter().collect();
    ordered.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| b.name.cmp(&a.name)));
    for overlay in ordered {
        let mut concerned: Vec<(&Arc<str>, &Arc<str>, Vec<&Offering>)> = Vec::new();
        for (pool, template) in pools {
            for kind in offerings.get(*pool).into_iter().flat_map(|types| types.iter()) {
                let own = overlaid(pool, template, kind, &overlay.requirements);
                if !own.is_empty() {
                    concerned.push((pool, &kind.name, own));
                }
            }
        }
        if concerned.iter().any(|(pool, kind, own)| made.update(pool, kind).is_some_and(|update| update.contradicts(overlay, own))) {
            conflicts.insert(overlay.name.clone());
            continue;
        }
        made.named.extend(overlay.named());
        for (pool, kind, own) in concerned {
            made.by_pool.entry(pool.clone()).or_default().entry(kind.clone()).or_default().take(overlay, &own);
        }
    }
    (made, conflicts)
}

impl Overlay {
    /// What it says that types cost, if it is about types by name and about nothing else
    /// (`A/pkg/providers/instancetype/offering/offering.go`, GetOverlayPrice).
    fn named(&self) -> Vec<(Arc<str>, UsdPerHour)> {
        let (Some(PriceChange::To(price)), Some(price_of)) = (self.price, self.requirements.get(labels::INSTANCE_TYPE)) else {
            return Vec::new();
        };
        if self.requirements.iter().count() != 1 || price_of.complement {
            return Vec::new();
        }
        price_of.values.iter().filter_map(|name| Some((name.clone(), UsdPerHour::new(price)?))).collect()
    }
}

impl Overlays {
    /// Prices of types that overlays name outright.
    pub fn named(&self) -> &BTreeMap<Arc<str>, UsdPerHour> {
        &self.named
    }
}

/// The offerings of this type that the overlay is about.
fn overlaid<'a>(pool: &Arc<str>, template: &Labels, kind: &'a InstanceType, asked: &Requirements) -> Vec<&'a Offering> {
    let mut own: Requirements = [Requirement::is_in(labels::NODEPOOL, pool.clone())].into_iter().collect();
    own.extend(&Requirements::from_labels(template.iter().map(|(key, value)| (&**key, &**value))));
    own.extend(&kind.requirements);
    if !own.is_compatible(asked, |_| false) {
        return Vec::new();
    }
    kind.offerings.iter().filter(|offering| asked.is_compatible(&offering.requirements, labels::is_well_known)).collect()
}

impl Update {
    fn contradicts(&self, overlay: &Overlay, offerings: &[&Offering]) -> bool {
        let priced = |offering: &&Offering| self.prices.get(&offering.requirements).is_some_and(|(_, weight)| *weight == overlay.weight);
        let added =
            |(weight, last): &(i32, Resources)| *weight == overlay.weight && overlay.capacity.iter().any(|(name, _)| last.contains(name));
        overlay.price.is_some() && offerings.iter().any(priced) || self.last.as_ref().is_some_and(added)
    }

    fn take(&mut self, overlay: &Overlay, offerings: &[&Offering]) {
        if let Some(price) = overlay.price {
            for offering in offerings {
                self.prices.entry(offering.requirements.clone()).or_insert((price, overlay.weight)).1 = overlay.weight;
            }
        }
        let new =
            overlay.capacity.iter().filter(|(name, _)| !self.capacity.contains(name)).map(|(n, a)| (n.to_owned(), a)).collect::<Vec<_>>();
        new.into_iter().for_each(|(name, amount)| self.capacity.set(&name, amount));
        if overlay.capacity.iter().next().is_some() {
            self.last = Some((overlay.weight, overlay.capacity.clone()));
        }
    }

    fn apply(&self, kind: &InstanceType) -> InstanceType {
        let mut made = kind.clone();
        for offering in &mut made.offerings {
            if let Some((change, _)) = self.prices.get(&offering.requirements) {
                offering.price = change.apply(offering.price);
                offering.overlaid = true;
            }
        }
        for (name, amount) in self.capacity.iter() {
            made.capacity.set(name, amount);
            made.allocatable.set(name, amount);
            made.overlaid = true;
        }
        made
    }
}

impl Overlays {
    fn update(&self, pool: &str, kind: &str) -> Option<&Update> {
        self.by_pool.get(pool)?.get(kind)
    }

    /// The types as the overlays make them; `None` for a pool that no overlay was held against yet.
    pub fn apply(&self, pool: &str, types: &Arc<Vec<InstanceType>>) -> Option<Arc<Vec<InstanceType>>> {
        if !self.evaluated.contains(pool) {
            return None;
        }
        let Some(updates) = self.by_pool.get(pool) else { return Some(types.clone()) };
        Some(Arc::new(types.iter().map(|kind| updates.get(&kind.name).map_or_else(|| kind.clone(), |u| u.apply(kind))).collect()))
    }
}
