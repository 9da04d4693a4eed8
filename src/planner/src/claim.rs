//! A NodeClaim in the making: the pods it is for, and the instance types that can still hold them.

use crate::bits::Bits;
use crate::input::MinValuesPolicy;
use crate::intern::{Amounts, RequirementTable, RequirementsId, Undefined, add};
use crate::output::PoolRefusal;
use crate::ports::Port;
use crate::reservation::{Held, Reservations, Unreservable};
use crate::shape::{Shape, Stage};
use crate::template::{MinValues, Template};
use crate::topology::{Blocked, Site, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;
use vocabulary::taint;

pub struct Claim {
    /// Position of its pool's template.
    pub template: usize,
    /// The host that it will be, as topology counts.
    pub host: usize,
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
}

/// A pod's place in a NodeClaim, found but not yet taken.
pub struct Fit {
    requirements: RequirementsId,
    min_values: MinValues,
    options: Bits,
    reserved: Held,
    pub relaxed: bool,
}

/// What a NodeClaim is made in.
pub struct Surroundings<'a> {
    pub template: &'a mut Template,
    pub table: &'a mut RequirementTable,
    pub topology: &'a mut Topology,
    pub reservations: &'a Reservations,
}

/// Why a pod does not go into a NodeClaim.
pub enum Misfit {
    Constraint,
    /// Not as long as the pods elsewhere are where they are.
    Topology,
    Reservation,
}

impl From<Unreservable> for Misfit {
    fn from(_: Unreservable) -> Self {
        Misfit::Reservation
    }
}

impl Claim {
    /// An empty NodeClaim of the pool, limited to `options`.
    pub fn open(position: usize, host: usize, template: &Template, options: Bits, zero: Amounts) -> Self {
        Claim {
            template: position,
            host,
            requirements: template.requirements,
            min_values: template.min_values.clone(),
            options,
            requests: zero,
            pods: Vec::new(),
            ports: Vec::new(),
            reserved: Held::new(),
            limits: template.remaining.clone(),
            refused_pools: Vec::new(),
        }
    }

    pub fn site<'a>(&self, template: &'a Template) -> Site<'a> {
        Site { host: self.host, taints: &template.pool.taints, undefined: Undefined::WellKnown }
    }

    /// Whether the pod fits beside those already here (`C/pkg/controllers/provisioning/scheduling/nodeclaim.go`, CanAdd).
    /// `policy` other than Strict lowers `minValues` to what is there; upstream does so only for new NodeClaims.
    pub fn fit(&self, shape: &Shape, stage: &Stage, at: &mut Surroundings<'_>, policy: MinValuesPolicy) -> Result<Fit, Misfit> {
        if taint::first_untolerated(&at.template.pool.taints, &stage.tolerations).is_some() {
            return Err(Misfit::Constraint);
        }
        let base = at.table.join(self.requirements, stage.requirements, Undefined::WellKnown).ok_or(Misfit::Constraint)?;
        let mut requests = self.requests.clone();
        add(&mut requests, &shape.requests);
        if shape.volumes.is_empty() {
            return self.fit_volume(shape, stage, at, policy, base, &requests);
        }
        let mut last = Misfit::Constraint;
        for asked in &shape.volumes {
            let Some(base) = at.table.join(base, *asked, Undefined::WellKnown) else {
                last = Misfit::Constraint;
                continue;
            };
            match self.fit_volume(shape, stage, at, policy, base, &requests) {
                Ok(fit) => return Ok(fit),
                // One alternative that other pods keep it from may be free later, whatever the last one says.
                Err(Misfit::Constraint) if matches!(last, Misfit::Topology) => {}
                Err(misfit) => last = misfit,
            }
        }
        Err(last)
    }

    /// The same with one of the volumes' alternatives joined.
    fn fit_volume(
        &self,
        shape: &Shape,
        stage: &Stage,
        at: &mut Surroundings<'_>,
        policy: MinValuesPolicy,
        base: RequirementsId,
        requests: &Amounts,
    ) -> Result<Fit, Misfit> {
        let site = self.site(at.template);
        let requirements = at.topology.narrow(shape, stage, site, base, at.table).map_err(|blocked| match blocked {
            Blocked::ForGood => Misfit::Constraint,
            Blocked::ForNow => Misfit::Topology,
        })?;
        let options = at.template.filter(at.table, &self.options, requirements, requests, &shape.ports, &self.ports);
        if options.is_empty() {
            // What other pods leave may be another domain later.
            let elsewhere =
                requirements != base && !at.template.filter(at.table, &self.options, base, requests, &shape.ports, &self.ports).is_empty();
            return Err(if elsewhere { Misfit::Topology } else { Misfit::Constraint });
        }
        let mut min_values = self.min_values.clone();
        let shortages: Vec<(Arc<str>, u32)> =
            at.template.shortages(&self.min_values, &options).map(|(key, _, found)| (key.clone(), found)).collect();
        if !shortages.is_empty() && policy == MinValuesPolicy::Strict {
            return Err(if requirements == base { Misfit::Constraint } else { Misfit::Topology });
        }
        let relaxed = !shortages.is_empty();
        min_values.extend(shortages);
        let reserved = at.reservations.wanted(at.template, at.table, &options, requirements, &self.reserved)?;
        Ok(Fit { requirements, min_values, options, reserved, relaxed })
    }

    pub fn add(&mut self, pod: usize, shape: &Shape, fit: Fit, reservations: &mut Reservations) {
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
