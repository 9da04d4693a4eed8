//! No voluntary consolidation that raises the price, or replaces a node by its own type, zone and market.
//!
//! Upstream launches only what is strictly cheaper than all that goes (`C/pkg/controllers/disruption/consolidation.go`, filterByPrice).
//! Judged by the machines that were launched and their prices then, once all of a command's are.

use super::view::{Machine, View};
use crate::acts::{self, Act, Done};

/// Seconds since the story began, and what was broken, by command.
pub fn judge(acts: &[Act], view: &View) -> Vec<(f64, String)> {
    let consolidations = acts.iter().filter(|act| act.done == Done::Replace && act.reason.as_deref() == Some("Underutilized"));
    consolidations.filter_map(|act| Some((act.at, command(&machines(view, &act.nodes)?, &machines(view, &act.with)?)?))).collect()
}

/// `None` while one of them has no machine.
fn machines<'v>(view: &'v View, of: &[acts::Machine]) -> Option<Vec<&'v Machine>> {
    of.iter().map(|machine| view.machines.get(view.any_claim(&machine.claim)?.instance.as_ref()?)).collect()
}

fn command(gone: &[&Machine], come: &[&Machine]) -> Option<String> {
    let list = |machines: &[&Machine]| {
        let one = |m: &&Machine| format!("{} {} in {}", m.market, m.instance_type, m.zone);
        machines.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let same = |a: &Machine, b: &Machine| (&a.instance_type, &a.zone, &a.market) == (&b.instance_type, &b.zone, &b.market);
    if come.iter().any(|new| gone.iter().any(|old| same(old, new))) {
        return Some(format!("{} is replaced by its own kind: {}", list(gone), list(come)));
    }
    let sum = |machines: &[&Machine]| machines.iter().map(|m| m.price).sum::<Option<f64>>();
    let (before, after) = (sum(gone)?, sum(come)?);
    // Prices are millionths of a dollar.
    (after > before + 5e-7).then(|| format!("{} at ${before:.4}/h is replaced by {} at ${after:.4}/h", list(gone), list(come)))
}
