//! Where pods may go, given where other pods are or will be: spread constraints, affinity and anti-affinity.
//!
//! Source: `C/pkg/controllers/provisioning/scheduling/topology.go`. Rules that are one ([`Identity`]) share a group, which knows the
//! pods of the rule by domain. The rules of a pod narrow its place; every pod that finds one is recorded in all groups that
//! are about it. Required anti-affinity works both ways: `inverse` groups know where the pods are that have the rule.
//!
//! Map: `definition` is a rule and when two are one; `group` the counts and the choice of a domain; `class` tells pods apart as far as
//! rules do; `ground` is what cluster and pools say.

mod class;
mod definition;
mod ground;
mod group;

pub use class::relates;
pub use definition::{Definition, Kind};

use crate::input::{Offerings, Pod, PodTerm, Pool, PreferencePolicy, Snapshot, SpreadConstraint};
use crate::intern::{RequirementTable, RequirementsId, Undefined};
use crate::shape::{Shape, Stage};
use crate::words;
use class::ClassTable;
use definition::Identity;
use ground::{Base, Ground};
use group::{Counts, Hosts, Question, next_domains, valid_domains};
use indexmap::{IndexMap, IndexSet};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use vocabulary::{Operator, Requirement, Requirements, Taint, Toleration, labels};

/// What keeps a pod out of a place.
pub enum Conflict {
    /// A rule leaves no domain.
    Rule(Refused),
    /// Each rule leaves some, and no place is in all of them: the first rule, and what they leave together.
    Together(Refused, Requirements),
}

/// A rule about other pods that leaves no domain.
pub struct Refused {
    pub kind: Kind,
    pub key: Arc<str>,
    group: Concern,
    /// Its domains are hosts.
    pub host: bool,
    /// What the pod asks of the key, and what the place may be.
    pub pod: Option<Requirement>,
    pub node: Option<Requirement>,
}

/// A group: of another pod's anti-affinity or not, and its position.
type Concern = (bool, usize);

/// Why nothing is left of a place.
enum Denied {
    /// This group leaves no domain.
    Group(Concern),
    /// Each leaves some, and no place is in all of them: what they leave together.
    Together(RequirementsId),
    /// An earlier answer, which does not say why.
    Remembered,
}

/// Rules by number, the same for all simulations over one cluster.
pub struct Rules {
    definitions: IndexSet<Definition>,
    identities: Vec<Identity>,
    pub classes: ClassTable,
    /// Nothing in the cluster says anything of other pods.
    none: bool,
}

impl Rules {
    fn number(&mut self, rule: Definition, table: &RequirementTable) -> usize {
        let identity = rule.identity(table);
        let (number, new) = self.definitions.insert_full(rule);
        if new {
            self.identities.push(identity);
        }
        number
    }

    /// Class of a pod among those that rules tell apart.
    pub fn class_of(&mut self, pod: &Pod) -> usize {
        if self.none { 0 } else { self.classes.class_of(pod) }
    }

    /// The rules of a pod that still has these constraints and preferences, in upstream's order: spread, then the terms.
    pub fn of_stage(&mut self, pod: &Pod, left: &Left<'_>, table: &RequirementTable) -> Vec<usize> {
        let mut rules = Vec::new();
        if self.none {
            return rules;
        }
        for constraint in left.spread.iter().filter(|c| left.policy == PreferencePolicy::Respect || !c.soft) {
            rules.push(self.number(Definition::spread(constraint, pod, left.demands, left.tolerations), table));
        }
        let respected = |terms: &'_ [&(i32, PodTerm)]| match left.policy {
            PreferencePolicy::Respect => terms.iter().map(|(_, term)| term.clone()).collect::<Vec<_>>(),
            PreferencePolicy::Ignore => Vec::new(),
        };
        let near = pod.pod_affinity.required.iter().cloned().chain(respected(left.near)).map(|term| (Kind::Affinity, term));
        let apart = pod.pod_anti_affinity.required.iter().cloned().chain(respected(left.apart)).map(|term| (Kind::AntiAffinity, term));
        for (kind, term) in near.chain(apart) {
            let rule = Definition::term(kind, &term, pod, left.tolerations, &self.classes);
            rules.push(self.number(rule, table));
        }
        rules
    }

    /// Required anti-affinity, as it keeps others away; a pod is counted once, however often it says so.
    pub fn both_ways(&mut self, pod: &Pod, table: &RequirementTable) -> Vec<usize> {
        let terms = pod.pod_anti_affinity.required.iter();
        let rules: Vec<Definition> =
            terms.map(|term| Definition::term(Kind::AntiAffinity, term, pod, &pod.tolerations, &self.classes)).collect();
        let mut numbers: Vec<usize> = Vec::new();
        for rule in rules {
            let number = self.number(rule, table);
            if numbers.iter().all(|known| self.identities[*known] != self.identities[number]) {
                numbers.push(number);
            }
        }
        numbers
    }
}

/// What relaxation left of a pod.
pub struct Left<'a> {
    pub spread: &'a [SpreadConstraint],
    pub near: &'a [&'a (i32, PodTerm)],
    pub apart: &'a [&'a (i32, PodTerm)],
    /// Its strict node demands: one of these.
    pub demands: &'a [RequirementsId],
    pub tolerations: &'a [Toleration],
    pub policy: PreferencePolicy,
}

/// Pods of one rule by domain.
struct Group {
    rule: usize,
    counts: Counts,
    /// Counts the changes.
    version: u64,
}

impl Group {
    fn record(&mut self, domain: &Arc<str>) {
        if let Counts::Domains(domains) = &mut self.counts {
            *domains.entry(domain.clone()).or_default() += 1;
            self.version += 1;
        }
    }

    fn record_host(&mut self, host: usize) {
        if let Counts::Hosts(hosts) = &mut self.counts {
            hosts.add(host, 1);
            self.version += 1;
        }
    }
}

/// Groups that a class of pods is in.
#[derive(Clone, Default)]
struct Selected {
    looked_at: usize,
    groups: Vec<usize>,
}

pub struct Topology {
    pub rules: Rules,
    ground: Ground,
    bases: BTreeMap<usize, Rc<Base>>,
    /// Bound pods of the present batch, as class and place: they do not count where they are.
    leaving: Vec<(usize, usize)>,
    leaving_uids: BTreeSet<Arc<str>>,
    /// Places of nodes that go in the present simulation.
    gone: BTreeSet<usize>,
    groups: Vec<Group>,
    inverse: Vec<Group>,
    known: IndexMap<Identity, usize>,
    known_inverse: IndexMap<Identity, usize>,
    /// By stage: its groups, once they are needed.
    own: Vec<Option<Rc<[usize]>>>,
    /// By class.
    selected: Vec<Selected>,
    selected_inverse: Vec<Selected>,
    /// By stage.
    answers: Vec<Vec<Answer>>,
}

/// What rules made of a place, as long as none of their groups changed.
#[derive(Clone, Copy)]
struct Answer {
    base: RequirementsId,
    undefined: Undefined,
    /// Sum of the groups' versions.
    stamp: u64,
    answer: Option<RequirementsId>,
}

/// A rule leaves nothing of a place.
pub enum Blocked {
    /// Whatever becomes of pods elsewhere, as long as those here stay.
    ForGood,
    ForNow,
}

/// A place that is looked at.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub host: usize,
    pub taints: &'a [Taint],
    pub undefined: Undefined,
}

impl Topology {
    /// `pools` in the order in which they are tried. `pods` are those to place, beside what the snapshot holds.
    pub fn new(snapshot: &Snapshot, pools: &[&Arc<Pool>], offerings: &Offerings, pods: &[Arc<Pod>], table: &mut RequirementTable) -> Self {
        let bound = snapshot.nodes.iter().flat_map(|node| &node.pods);
        let none = !snapshot.pending.iter().chain(bound).chain(pods).any(|pod| relates(pod));
        let classes = if none { ClassTable::default() } else { ClassTable::of(snapshot) };
        let mut rules = Rules { definitions: IndexSet::new(), identities: Vec::new(), classes, none };
        let mut ground = Ground::new(snapshot, pools, offerings);
        if !none {
            // The numbering and the classes are lent apart from each other.
            let mut classes = std::mem::take(&mut rules.classes);
            let found = &mut rules;
            let mut wards: Vec<Definition> = Vec::new();
            ground.read(snapshot, &mut classes, table, |pod, classes| {
                let terms = pod.pod_anti_affinity.required.iter();
                terms
                    .map(|term| {
                        wards.push(Definition::term(Kind::AntiAffinity, term, pod, &pod.tolerations, classes));
                        wards.len() - 1
                    })
                    .collect()
            });
            let numbers: Vec<usize> = wards.into_iter().map(|rule| found.number(rule, table)).collect();
            ground.wards.iter_mut().for_each(|ward| ward.rule = numbers[ward.rule]);
            rules.classes = classes;
        }
        Topology {
            rules,
            ground,
            bases: BTreeMap::new(),
            leaving: Vec::new(),
            leaving_uids: BTreeSet::new(),
            gone: BTreeSet::new(),
            groups: Vec::new(),
            inverse: Vec::new(),
            known: IndexMap::new(),
            known_inverse: IndexMap::new(),
            own: Vec::new(),
            selected: Vec::new(),
            selected_inverse: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Keys of labels that rules look at.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.definitions.iter().map(|rule| &rule.key)
    }

    /// Number of the host that the next NodeClaim will be.
    pub fn host_of_claim(&self, claim: usize) -> usize {
        self.ground.hosts.len() + claim
    }

    /// Of the node at this position in the snapshot.
    pub fn host_of_node(&self, position: usize) -> usize {
        self.ground.host_of[position]
    }

    /// Begins with the cluster as it is, for these pods (each with its shape), while the nodes of these names go.
    pub fn begin(
        &mut self,
        pods: &[Arc<Pod>],
        of_pod: &[usize],
        shapes: &[Shape],
        gone: &BTreeSet<Arc<str>>,
        table: &mut RequirementTable,
    ) {
        self.groups.clear();
        self.inverse.clear();
        self.known.clear();
        self.known_inverse.clear();
        self.own.clear();
        self.selected.clear();
        self.selected_inverse.clear();
        self.answers.clear();
        if self.rules.none {
            return;
        }
        self.gone = (0..self.ground.places.len()).filter(|place| gone.contains(&self.ground.places[*place].node.name)).collect();
        self.leaving_uids = pods.iter().map(|pod| pod.uid.clone()).collect();
        self.leaving = self.leaving_uids.iter().filter_map(|uid| self.ground.whereabouts.get(uid)).copied().collect();
        self.guard();
        // The first pod of a rule decides its details: the first by name, whatever the order of the list.
        let mut first: Vec<Option<usize>> = vec![None; shapes.len()];
        let name = |pod: usize| (&pods[pod].namespace, &pods[pod].name);
        for (pod, shape) in of_pod.iter().enumerate() {
            if first[*shape].is_none_or(|other| name(pod) < name(other)) {
                first[*shape] = Some(pod);
            }
        }
        let mut firsts: Vec<usize> = first.into_iter().flatten().collect();
        firsts.sort_by_key(|pod| name(*pod));
        for shape in firsts.into_iter().map(|pod| &of_pod[pod]) {
            for rule in &shapes[*shape].both_ways {
                self.inverse_group(*rule);
            }
            self.groups_of(&shapes[*shape].stages[0], table);
        }
    }

    /// Inverse groups of the bound pods that stay.
    fn guard(&mut self) {
        for ward in 0..self.ground.wards.len() {
            let (rule, place) = (self.ground.wards[ward].rule, self.ground.wards[ward].place);
            if self.leaving_uids.contains(&self.ground.wards[ward].uid) {
                continue;
            }
            let group = self.inverse_group(rule);
            let key = &self.rules.definitions[rule].key;
            let place = &self.ground.places[place];
            match place.node.labels.get(key) {
                Some(_) if **key == *labels::HOSTNAME => self.inverse[group].record_host(place.host),
                Some(domain) => self.inverse[group].record(domain),
                None => {}
            }
        }
    }

    fn inverse_group(&mut self, rule: usize) -> usize {
        if let Some(known) = self.known_inverse.get(&self.rules.identities[rule]) {
            return *known;
        }
        let definition = &self.rules.definitions[rule];
        let counts = if *definition.key == *labels::HOSTNAME {
            Counts::Hosts(Hosts::default())
        } else {
            let domains = self.ground.universe(&definition.key, Some(&definition.tolerations));
            Counts::Domains(domains.into_iter().map(|domain| (domain, 0)).collect())
        };
        self.inverse.push(Group { rule, counts, version: 0 });
        self.known_inverse.insert(self.rules.identities[rule].clone(), self.inverse.len() - 1);
        self.inverse.len() - 1
    }

    /// The groups of a stage. One that nobody had before begins with what is bound in the cluster, whatever was placed since: so does
    /// upstream when a pod's preferences are relaxed.
    pub fn groups_of(&mut self, stage: &Stage, table: &mut RequirementTable) -> Rc<[usize]> {
        if let Some(Some(known)) = self.own.get(stage.id) {
            return known.clone();
        }
        let made: Vec<usize> = stage.rules.iter().map(|rule| self.group(*rule, table)).collect();
        let mut unique: Vec<usize> = Vec::new();
        made.into_iter().for_each(|group| {
            if !unique.contains(&group) {
                unique.push(group);
            }
        });
        let made: Rc<[usize]> = unique.into();
        if stage.id >= self.own.len() {
            self.own.resize(stage.id + 1, None);
        }
        self.own[stage.id] = Some(made.clone());
        made
    }

    fn group(&mut self, rule: usize, table: &mut RequirementTable) -> usize {
        if let Some(known) = self.known.get(&self.rules.identities[rule]) {
            return *known;
        }
        let definition = &self.rules.definitions[rule];
        let base = match self.bases.get(&rule) {
            Some(base) => base.clone(),
            None => {
                let base = Rc::new(self.ground.base(definition, &self.rules.classes, table));
                self.bases.insert(rule, base.clone());
                base
            }
        };
        let leaving: Vec<usize> =
            self.leaving.iter().filter(|(class, _)| self.rules.classes.lists(definition, *class)).map(|l| l.1).collect();
        let leaving: Vec<usize> = leaving.into_iter().filter(|place| self.ground.passes(*place, definition, table)).collect();
        let counts = if *definition.key == *labels::HOSTNAME {
            let mut hosts = Hosts::new(base.hosts.clone());
            leaving.into_iter().for_each(|place| hosts.add(self.ground.places[place].host, -1));
            Counts::Hosts(hosts)
        } else {
            let mut pods = base.pods.clone();
            for domain in leaving.into_iter().filter_map(|place| self.ground.domain(place, &definition.key)) {
                if let Some(count) = pods.get_mut(domain) {
                    *count -= 1;
                }
            }
            // Counted pods make a domain, and so do nodes that stay.
            pods.retain(|_, count| *count > 0);
            let mut nodes = base.nodes.clone();
            for place in &self.gone {
                let node = &self.ground.places[*place].node;
                if let Some(domain) = node.labels.get(&definition.key).filter(|_| !node.deleting)
                    && self.ground.passes(*place, definition, table)
                    && let Some(count) = nodes.get_mut(domain)
                {
                    *count -= 1;
                }
            }
            let standing = nodes.into_iter().filter(|(_, count)| *count > 0).map(|(domain, _)| domain);
            for domain in base.universe.iter().cloned().chain(standing) {
                pods.entry(domain).or_insert(0);
            }
            Counts::Domains(pods)
        };
        self.groups.push(Group { rule, counts, version: 0 });
        self.known.insert(self.rules.identities[rule].clone(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// Whether any rule concerns pods of this shape at this stage.
    pub fn concerns(&mut self, shape: &Shape, stage: &Stage) -> bool {
        !self.rules.none && (!stage.rules.is_empty() || !self.keeping_away(shape.class).is_empty())
    }

    /// Inverse groups that are about a class.
    fn keeping_away(&mut self, class: usize) -> &[usize] {
        look_up(&mut self.selected_inverse, class, &self.inverse, &self.rules)
    }

    /// What the place may still be once the pod's rules have their way.
    pub fn narrow(
        &mut self,
        shape: &Shape,
        stage: &Stage,
        site: Site<'_>,
        base: RequirementsId,
        table: &mut RequirementTable,
    ) -> Result<RequirementsId, Blocked> {
        self.try_narrow(shape, stage, site, base, table).map_err(|found| match found {
            Denied::Group(at) => {
                let group = self.group_at(at);
                let kind = self.rules.definitions[group.rule].kind;
                // Pods of a host become more and never fewer.
                if matches!(group.counts, Counts::Hosts(_)) && kind != Kind::Affinity { Blocked::ForGood } else { Blocked::ForNow }
            }
            Denied::Together(_) | Denied::Remembered => Blocked::ForNow,
        })
    }

    fn group_at(&self, (inverse, position): Concern) -> &Group {
        if inverse { &self.inverse[position] } else { &self.groups[position] }
    }

    fn try_narrow(
        &mut self,
        shape: &Shape,
        stage: &Stage,
        site: Site<'_>,
        base: RequirementsId,
        table: &mut RequirementTable,
    ) -> Result<RequirementsId, Denied> {
        if self.rules.none || self.keeping_away(shape.class).is_empty() && stage.rules.is_empty() {
            return Ok(base);
        }
        let own = self.groups_of(stage, table);
        let away = &self.selected_inverse[shape.class].groups;
        let (groups, inverse, rules) = (&self.groups, &self.inverse, &self.rules);
        let concerned = || own.iter().map(|group| (false, *group)).chain(away.iter().map(|group| (true, *group)));
        let group_of = |at: Concern| if at.0 { &inverse[at.1] } else { &groups[at.1] };
        let mut stamp = 0;
        let mut elsewhere = false;
        for at in concerned() {
            let group = group_of(at);
            match &group.counts {
                Counts::Hosts(hosts) => {
                    let definition = &rules.definitions[group.rule];
                    let pod_may = || table.get(stage.strict).get(labels::HOSTNAME).is_none_or(|asked| self.ground.is_in(asked, site.host));
                    let selects = || rules.classes.selects(definition, shape.class);
                    if !hosts.allows(definition.kind, site.host, pod_may, selects) {
                        return Err(Denied::Group(at));
                    }
                }
                Counts::Domains(_) => {
                    stamp += group.version;
                    elsewhere = true;
                }
            }
        }
        if !elsewhere {
            return Ok(base);
        }
        if stage.id >= self.answers.len() {
            self.answers.resize(stage.id + 1, Vec::new());
        }
        let known = self.answers[stage.id].iter().position(|known| known.base == base && known.undefined == site.undefined);
        if let Some(known) = known.map(|position| self.answers[stage.id][position])
            && known.stamp == stamp
        {
            return known.answer.ok_or(Denied::Remembered);
        }
        let mut narrowed = Requirements::new();
        let mut refused = None;
        for at in concerned() {
            let group = group_of(at);
            let Counts::Domains(domains) = &group.counts else { continue };
            let definition = &rules.definitions[group.rule];
            let (pod, node) = (table.get(stage.strict).get(&definition.key), table.get(base).get(&definition.key));
            let question = Question { pod, node, selects: rules.classes.selects(definition, shape.class) };
            let next = next_domains(definition.kind, domains, &question);
            if next.is_empty() {
                refused = Some(at);
                break;
            }
            if let Some(node) = node {
                narrowed.add(node.clone());
            }
            narrowed.add(Requirement::new(definition.key.clone(), Operator::In, next));
        }
        let answer = match refused {
            Some(at) => Err(Denied::Group(at)),
            None => {
                let narrowed = table.intern(narrowed);
                table.join(base, narrowed, site.undefined).ok_or(Denied::Together(narrowed))
            }
        };
        let made = Answer { base, undefined: site.undefined, stamp, answer: answer.as_ref().ok().copied() };
        match known {
            Some(position) => self.answers[stage.id][position] = made,
            None => self.answers[stage.id].push(made),
        }
        answer
    }

    /// [`Self::narrow`], with what keeps the pod out.
    pub fn conflict(
        &mut self,
        shape: &Shape,
        stage: &Stage,
        site: Site<'_>,
        base: RequirementsId,
        table: &mut RequirementTable,
    ) -> Result<RequirementsId, Box<Conflict>> {
        // An answer that is remembered does not say who.
        self.answers.clear();
        self.try_narrow(shape, stage, site, base, table).map_err(|denied| {
            Box::new(match denied {
                Denied::Group(at) => Conflict::Rule(self.refused(at, stage, base, table)),
                Denied::Together(narrowed) => {
                    // The pod's own rules are told of before others'.
                    let others = || self.selected_inverse[shape.class].groups.first().map(|group| (true, *group));
                    let own = self.own[stage.id].as_ref().and_then(|own| own.first()).map(|group| (false, *group));
                    let first = own.or_else(others).expect("a rule has left something");
                    Conflict::Together(self.refused(first, stage, base, table), table.get(narrowed).clone())
                }
                Denied::Remembered => unreachable!("all answers were forgotten"),
            })
        })
    }

    fn refused(&self, at: Concern, stage: &Stage, base: RequirementsId, table: &RequirementTable) -> Refused {
        let group = self.group_at(at);
        let definition = &self.rules.definitions[group.rule];
        let asked = |id| table.get(id).get(&definition.key).cloned();
        Refused {
            kind: definition.kind,
            key: definition.key.clone(),
            group: at,
            host: matches!(group.counts, Counts::Hosts(_)),
            pod: asked(stage.strict),
            node: asked(base),
        }
    }

    /// Pods of the rule by domain, while so many NodeClaims are planned.
    pub fn counts(&self, refused: &Refused, claims: usize) -> BTreeMap<Arc<str>, i64> {
        match &self.group_at(refused.group).counts {
            Counts::Domains(domains) => domains.clone(),
            Counts::Hosts(hosts) => {
                // A node that goes is a domain only as long as pods on it count.
                let stays = |(host, _): &(usize, Arc<str>)| hosts.count(*host) > 0 || !self.ground.going.contains(host);
                let named = self.ground.hosts.iter().cloned().enumerate().filter(stays);
                let planned = (0..claims).map(|claim| (self.host_of_claim(claim), words::host_name(claim).into()));
                named.chain(planned).map(|(host, name)| (name, hosts.count(host))).collect()
            }
        }
    }

    /// The zone that a pod's own demands, its volumes and its rules over zones leave it: its name, `flexible` for several, `none`.
    pub fn effective_zone(&mut self, shape: &Shape, table: &mut RequirementTable) -> Arc<str> {
        let stage = shape.stages.first().expect("a shape has a stage at least");
        let mut ruled: Option<BTreeSet<Arc<str>>> = None;
        for group in self.groups_of(stage, table).iter() {
            let group = &self.groups[*group];
            let definition = &self.rules.definitions[group.rule];
            let Counts::Domains(domains) = &group.counts else { continue };
            if *definition.key != *labels::ZONE {
                continue;
            }
            let pod = table.get(stage.requirements).get(labels::ZONE);
            let question = Question { pod, node: None, selects: self.rules.classes.selects(definition, shape.class) };
            let valid: BTreeSet<Arc<str>> = valid_domains(definition.kind, domains, &question).into_iter().collect();
            if valid.is_empty() {
                return "none".into();
            }
            ruled = Some(ruled.map_or_else(|| valid.clone(), |known| known.intersection(&valid).cloned().collect()));
        }
        let ruled = ruled.filter(|zones| !zones.is_empty());
        let own = table.get(stage.strict).get(labels::ZONE);
        let listed = |requirement: &&Requirement| requirement.operator() == Operator::In;
        // The volumes' zones are of one mind if each alternative lists some.
        let alternatives: Option<Vec<&Requirement>> =
            shape.volumes.iter().map(|volume| table.get(*volume).get(labels::ZONE).filter(listed)).collect();
        let volumes: Option<BTreeSet<&Arc<str>>> =
            alternatives.filter(|all| !all.is_empty()).map(|all| all.iter().flat_map(|zones| &zones.values).collect());
        let candidates: Vec<&Arc<str>> = match (own.filter(listed), &volumes, &ruled) {
            (Some(own), _, _) => own.values.iter().collect(),
            (None, Some(volumes), _) => volumes.iter().copied().collect(),
            (None, None, Some(ruled)) => ruled.iter().collect(),
            (None, None, None) => return "flexible".into(),
        };
        let fits = |zone: &&&Arc<str>| {
            own.is_none_or(|own| own.has(zone))
                && volumes.as_ref().is_none_or(|volumes| volumes.contains(*zone))
                && ruled.as_ref().is_none_or(|ruled| ruled.contains(**zone))
        };
        let mut fitting = candidates.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (None, _) => "none".into(),
            (Some(zone), None) => (*zone).clone(),
            (Some(_), Some(_)) => "flexible".into(),
        }
    }

    /// The pod goes to this place, which may be what `joined` says.
    pub fn record(&mut self, shape: &Shape, site: Site<'_>, joined: RequirementsId, table: &mut RequirementTable) {
        if self.rules.none {
            return;
        }
        look_up(&mut self.selected, shape.class, &self.groups, &self.rules);
        for group in &self.selected[shape.class].groups {
            let group = &mut self.groups[*group];
            let definition = &self.rules.definitions[group.rule];
            if definition.filter.as_ref().is_some_and(|f| !f.passes(&definition.tolerations, site.taints, joined, table)) {
                continue;
            }
            if matches!(group.counts, Counts::Hosts(_)) {
                group.record_host(site.host);
                continue;
            }
            let Some(requirement) = table.get(joined).get(&definition.key) else { continue };
            if definition.kind == Kind::AntiAffinity {
                // Wherever the pod may come to be; upstream takes the values even where they are those that are ruled out.
                requirement.values.iter().for_each(|domain| group.record(domain));
            } else if let Some(domain) = requirement.single() {
                group.record(domain);
            }
        }
        for rule in &shape.both_ways {
            let group = &mut self.inverse[self.known_inverse[&self.rules.identities[*rule]]];
            if matches!(group.counts, Counts::Hosts(_)) {
                group.record_host(site.host);
            } else if let Some(requirement) = table.get(joined).get(&self.rules.definitions[*rule].key) {
                requirement.values.iter().for_each(|domain| group.record(domain));
            }
        }
    }
}

/// Groups that are about a class, looking only at those that are new since last time.
fn look_up<'a>(lists: &'a mut Vec<Selected>, class: usize, groups: &[Group], rules: &Rules) -> &'a [usize] {
    if class >= lists.len() {
        lists.resize(class + 1, Selected::default());
    }
    let list = &mut lists[class];
    for (position, group) in groups.iter().enumerate().skip(list.looked_at) {
        if rules.classes.selects(&rules.definitions[group.rule], class) {
            list.groups.push(position);
        }
    }
    list.looked_at = groups.len();
    &list.groups
}
