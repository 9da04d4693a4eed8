//! A NodeClaim in the making: the pods it is for, and the instance types that can still hold them.

use crate::bits::Bits;
use crate::input::MinValuesPolicy;
use crate::intern::{Amounts, RequirementTable, RequirementsId, Undefined, add};
use crate::output::PoolRefusal;
use crate::ports::Port;
use crate::reservation::{Held, Reservations, Unreservable};
use crate::shape::{Shape, Stage};
use crate::template::{MinValues, Template};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::taint;

pub struct Claim {
    /// Position of its pool's template.
    pub template: usize,
    pub requirements: RequirementsId,
    pub min_values: MinValues,
    pub options: Bits,
    /// Of the pods; daemons come on top, by instance type.
    pub requests: Amounts,
    pub pods: Vec<usize>,
    pub ports: Vec<Port>,
    pub reserved: Held,
    /// What the limits left when the NodeClaim was opened.
    pub limits: BTreeMap<Arc<str>, i64>,
    /// Pools that were tried before, with the reason they lost.
    pub refused_pools: Vec<PoolRefusal>,
    /// Stages that were refused since the requirements last changed; what is left only shrinks.
    refused: Bits,
}

/// A pod's place in a NodeClaim, found but not yet taken.
pub struct Fit {
    requirements: RequirementsId,
    min_values: MinValues,
    options: Bits,
    reserved: Held,
    pub relaxed: bool,
}

/// Why a pod does not go into a NodeClaim.
pub enum Misfit {
    Constraint,
    Reservation,
}

impl From<Unreservable> for Misfit {
    fn from(_: Unreservable) -> Self {
        Misfit::Reservation
    }
}

impl Claim {
    /// An empty NodeClaim of the pool, limited to `options`.
    pub fn open(position: usize, template: &Template, options: Bits, zero: Amounts) -> Self {
        Claim {
            template: position,
            requirements: template.requirements,
            min_values: template.min_values.clone(),
            options,
            requests: zero,
            pods: Vec::new(),
            ports: Vec::new(),
            reserved: Held::new(),
            limits: template.remaining.clone(),
            refused_pools: Vec::new(),
            refused: Bits::default(),
        }
    }

    /// Whether the pod fits beside those already here (`C/pkg/controllers/provisioning/scheduling/nodeclaim.go`, CanAdd).
    /// `policy` other than Strict lowers `minValues` to what is there; upstream does so only for new NodeClaims.
    pub fn fit(
        &self,
        shape: &Shape,
        stage: &Stage,
        template: &mut Template,
        table: &mut RequirementTable,
        reservations: &Reservations,
        policy: MinValuesPolicy,
    ) -> Result<Fit, Misfit> {
        if taint::first_untolerated(&template.pool.taints, &stage.tolerations).is_some() {
            return Err(Misfit::Constraint);
        }
        let requirements = table.join(self.requirements, stage.requirements, Undefined::WellKnown).ok_or(Misfit::Constraint)?;
        let mut requests = self.requests.clone();
        add(&mut requests, &shape.requests);
        let options = template.filter(table, &self.options, requirements, &requests, &shape.ports, &self.ports);
        if options.is_empty() {
            return Err(Misfit::Constraint);
        }
        let mut min_values = self.min_values.clone();
        let shortages: Vec<(Arc<str>, u32)> =
            template.shortages(&self.min_values, &options).map(|(key, _, found)| (key.clone(), found)).collect();
        if !shortages.is_empty() && policy == MinValuesPolicy::Strict {
            return Err(Misfit::Constraint);
        }
        let relaxed = !shortages.is_empty();
        min_values.extend(shortages);
        let reserved = reservations.wanted(template, table, &options, requirements, &self.reserved)?;
        Ok(Fit { requirements, min_values, options, reserved, relaxed })
    }

    /// [`Self::fit`] for a NodeClaim in flight, which remembers constraints that failed.
    pub fn fit_in_flight(
        &mut self,
        shape: &Shape,
        stage: &Stage,
        template: &mut Template,
        table: &mut RequirementTable,
        reservations: &Reservations,
    ) -> Option<Fit> {
        if self.refused.contains(stage.id) {
            return None;
        }
        let fit = self.fit(shape, stage, template, table, reservations, MinValuesPolicy::Strict);
        if let Err(Misfit::Constraint) = fit {
            self.refused.insert(stage.id);
        }
        fit.ok()
    }

    pub fn add(&mut self, pod: usize, shape: &Shape, fit: Fit, reservations: &mut Reservations) {
        if self.requirements != fit.requirements {
            self.refused.clear();
        }
        self.pods.push(pod);
        add(&mut self.requests, &shape.requests);
        self.ports.extend(shape.ports.iter().cloned());
        reservations.exchange(&self.reserved, &fit.reserved);
        self.requirements = fit.requirements;
        self.min_values = fit.min_values;
        self.options = fit.options;
        self.reserved = fit.reserved;
    }
}
