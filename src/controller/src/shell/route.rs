//! Who must look at what changed.

use super::{Controller, later};
use crate::decide::{hydration, node_health, pod_events, transitions};
use crate::log::Line;
use crate::record::What;
use crate::step::{Note, Step};
use crate::work::Work;
use cluster::{Kind, Object, Touched};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use std::sync::Arc;
use vocabulary::labels;

fn label<'a>(node: &'a Node, name: &str) -> &'a str {
    node.labels().get(name).map_or("", String::as_str)
}

/// It came or went, or its spec is another one.
fn regenerated(touched: &Touched) -> bool {
    let generation = |object: &Option<Object>| match object {
        Some(Object::NodePool(pool)) => pool.metadata.generation,
        Some(Object::EC2NodeClass(class)) => class.metadata.generation,
        Some(Object::NodeOverlay(overlay)) => overlay.metadata.generation,
        _ => None,
    };
    touched.old.is_none() || touched.new.is_none() || generation(&touched.old) != generation(&touched.new)
}

impl Controller {
    pub(super) fn open_when_ready(&mut self) {
        let leads = self.world.settings.leader_election.is_none() || self.world.election.renewed.is_some();
        if self.open || !leads || !self.world.facts.started || !self.world.index.is_listed() {
            return;
        }
        self.open = true;
        self.record(What::Started);
        let now = self.clock.now();
        let index = &self.world.index;
        let mut works: Vec<Work> = index.classes().map(|c| Work::NodeClass(c.name_any().into())).collect();
        works.extend(index.pools().flat_map(|p| {
            let name: Arc<str> = p.name_any().into();
            [Work::NodePool(name.clone()), Work::PoolCounter(name.clone()), Work::FixedSize(name)]
        }));
        for claim in index.claims() {
            let name: Arc<str> = claim.name_any().into();
            works.extend([Work::Lifecycle(name.clone()), Work::Expiration(name.clone()), Work::Tagging(name.clone())]);
            works.extend([Work::Consistency(name.clone()), Work::Marks(name)]);
        }
        // What the watch lists at the start counts as pods that came just now, as upstream's does.
        for node in index.nodes() {
            let name = node.name_any();
            if index.pods_on(&name).any(|pod| pod_events::is_event(None, pod)) {
                works.extend(self.claims_on(&name).into_iter().map(Work::PodEvents));
            }
        }
        works.extend(index.nodes().filter(|n| n.metadata.deletion_timestamp.is_some()).map(|n| Work::Termination(n.name_any().into())));
        works.extend([
            Work::Retrigger,
            Work::InstanceGc,
            Work::ClaimGc,
            Work::Health,
            Work::CapacityTypes,
            Work::ReservationExpiration,
            Work::LaunchTemplates,
            Work::Disruption,
            Work::Images,
        ]);
        if !self.world.settings.isolated_vpc {
            works.push(Work::Profiles);
        }
        if self.world.settings.node_overlay {
            works.push(Work::NodeOverlays);
        }
        if self.world.settings.node_repair {
            works.extend(self.world.index.nodes().map(|n| Work::NodeHealth(n.name_any().into())));
        }
        if self.world.settings.interruption_queue.is_some() {
            works.push(Work::Interruption);
        }
        if self.world.settings.zonal_shift {
            works.push(Work::ZonalShift);
        }
        works.extend(index.claims().filter(|claim| hydration::of_claim(claim)).map(|claim| Work::HydrateClaim(claim.name_any().into())));
        works.extend(index.nodes().map(|node| Work::HydrateNode(node.name_any().into())));
        for work in works {
            self.queue.add(work, now);
        }
        let registered: Vec<Arc<Node>> = self.world.index.nodes().filter(|n| label(n, labels::REGISTERED) == "true").cloned().collect();
        registered.iter().for_each(|node| self.observe_memory(node));
        if let Some(queue) = self.world.settings.interruption_queue.clone() {
            self.say(vec![Line::debug("interruption", "watching interruption queue").with("queue", queue).into()], None);
        }
        for (work, wait) in [
            (Work::KubernetesVersion, SignedDuration::from_mins(5)),
            (Work::InstanceTypes, SignedDuration::from_hours(12)),
            (Work::Prices, if self.world.facts.prices_missing { SignedDuration::ZERO } else { SignedDuration::from_hours(12) }),
        ] {
            self.queue.after(work, later(now, wait), None, now);
        }
    }

    /// An object is another than before: it is counted, told of, and looked at.
    pub(super) fn notice(&mut self, touched: &Touched, by: Option<&Work>) {
        self.metrics.touched(touched, self.clock.now());
        // Whoever does not lead says nothing.
        if self.open {
            let watched = self.world.settings.observability || touched.kind == Kind::EC2NodeClass;
            let events = if watched { transitions::events(touched) } else { Vec::new() };
            self.say(events.into_iter().map(Note::from).collect(), None);
            if let (old, Some(Object::Node(node))) = (&touched.old, &touched.new) {
                let registered = |node: &Node| label(node, labels::REGISTERED) == "true";
                let before = matches!(old, Some(Object::Node(old)) if !label(old, labels::REGISTERED).is_empty());
                if !before && registered(node) {
                    self.observe_memory(&node.clone());
                }
            }
        }
        self.route(touched, by);
    }

    /// What a registered node says of its memory is what the next one of its type will have.
    fn observe_memory(&mut self, node: &Node) {
        let index = &self.world.index;
        let id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("");
        let claims = index.claims_of(id);
        let Some(claim) = claims.first() else { return };
        let (Some(class), Some(image)) = (self.world.class_of(claim), claim.status.as_ref().and_then(|s| s.image_id.as_deref())) else {
            return;
        };
        let capacity = cluster::pod::amounts(node.status.as_ref().and_then(|s| s.capacity.as_ref()));
        let (kind, bytes) = (label(node, labels::INSTANCE_TYPE), capacity.get("memory"));
        if bytes > 0 && self.cloud.observe_memory(class, kind, image, bytes, self.clock.now()) {
            let line = Line::debug("providers.instancetype.capacity", "updating discovered capacity cache")
                .object("Node", "", &node.name_any())
                .with("memory-capacity", format!("{}Ki", bytes / 1024))
                .with("instance-type", kind);
            self.world.index.offerings_changed();
            self.say(vec![line.into()], None);
        }
    }

    /// Parameters that lead to a deprecated image are asked for anew.
    pub(super) fn forget_images(&mut self, now: Timestamp) -> Step {
        let amis: Vec<_> = self.world.index.classes().filter_map(|class| class.status.as_ref()).flat_map(|s| s.amis.clone()).collect();
        self.cloud.forget_deprecated_images(&amis, now);
        Step::after(SignedDuration::from_mins(30), None)
    }

    /// Who must look at what changed. `by` has seen it already.
    pub(super) fn route(&mut self, touched: &Touched, by: Option<&Work>) {
        if !self.open {
            return;
        }
        let now = self.clock.now();
        let name = touched.key.name.clone();
        let mut works = Vec::new();
        match touched.kind {
            Kind::Pod => {
                if let Some(Object::Pod(pod)) = &touched.new
                    && cluster::pod::is_provisionable(pod)
                {
                    self.trigger(&pod.uid().unwrap_or_default(), now);
                    self.queue.add_new(Work::Retrigger, now);
                }
                works.extend(self.pod_works(touched));
            }
            Kind::Node => {
                for object in [&touched.old, &touched.new].into_iter().flatten() {
                    let Object::Node(node) = object else { continue };
                    let id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("");
                    works.extend(self.world.index.claims_of(id).into_iter().map(|c| Work::Lifecycle(c.name_any().into())));
                }
                if let Some(Object::Node(node)) = &touched.new {
                    let id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).unwrap_or("");
                    if self.world.index.claims_of(id).iter().any(|claim| hydration::of_node(node, claim)) {
                        works.push(Work::HydrateNode(name.clone()));
                    }
                    if node.metadata.deletion_timestamp.is_some() {
                        works.push(Work::Termination(name));
                    }
                    let before = if let Some(Object::Node(before)) = &touched.old { Some(&**before) } else { None };
                    if self.world.settings.node_repair && node_health::is_event(before, node) {
                        works.push(Work::NodeHealth(touched.key.name.clone()));
                    }
                    if cluster::machine::node_taints(node).iter().any(|t| &*t.key == labels::DISRUPTED_TAINT) {
                        self.trigger(&node.uid().unwrap_or_default(), now);
                        self.queue.add_new(Work::Retrigger, now);
                    }
                }
            }
            Kind::NodeClaim => {
                let object = touched.new.as_ref().or(touched.old.as_ref());
                if let Some(Object::NodeClaim(claim)) = object {
                    if touched.new.is_some() && hydration::of_claim(claim) {
                        works.push(Work::HydrateClaim(name.clone()));
                    }
                    if let Some(id) = crate::world::provider_id(claim) {
                        let nodes = self.world.index.nodes_of(id);
                        let unnamed = nodes.iter().filter(|node| touched.new.is_some() && hydration::of_node(node, claim));
                        works.extend(unnamed.map(|node| Work::HydrateNode(node.name_any().into())));
                        works.extend(
                            nodes
                                .into_iter()
                                .filter(|n| n.metadata.deletion_timestamp.is_some())
                                .map(|n| Work::Termination(n.name_any().into())),
                        );
                    }
                    let came_or_goes = touched.old.is_none() || touched.new.is_none() || claim.metadata.deletion_timestamp.is_some();
                    let pool = claim.labels().get(labels::NODEPOOL).and_then(|pool| self.world.index.pool(pool));
                    if let Some(pool) = pool.filter(|pool| came_or_goes && pool.spec.replicas.is_some()) {
                        works.push(Work::FixedSize(pool.name_any().into()));
                    }
                    if touched.new.is_none() {
                        works.push(Work::NodeClass(claim.spec.node_class_ref.name.as_str().into()));
                        self.world.launches.remove(&claim.uid().unwrap_or_default());
                    }
                }
                works.extend([
                    Work::Lifecycle(name.clone()),
                    Work::Expiration(name.clone()),
                    Work::Tagging(name.clone()),
                    Work::Consistency(name.clone()),
                    Work::Marks(name),
                ]);
            }
            Kind::NodePool => {
                works.extend([Work::NodePool(name.clone()), Work::FixedSize(name.clone())]);
                if regenerated(touched) {
                    works.push(Work::NodeOverlays);
                }
                let own = self.world.index.claims().filter(|c| c.labels().get(labels::NODEPOOL).is_some_and(|pool| **pool == *name));
                works.extend(own.map(|c| Work::Marks(c.name_any().into())));
                if touched.old.is_none() {
                    works.push(Work::PoolCounter(name));
                }
            }
            Kind::EC2NodeClass => {
                works.push(Work::NodeClass(name.clone()));
                if regenerated(touched) {
                    works.push(Work::NodeOverlays);
                }
                let pools = self.world.index.pools().filter(|p| *p.spec.template.spec.node_class_ref.name == *name);
                works.extend(pools.map(|p| Work::NodePool(p.name_any().into())));
                let own = self.world.index.claims().filter(|c| *c.spec.node_class_ref.name == *name);
                works.extend(own.map(|c| Work::Marks(c.name_any().into())));
            }
            Kind::NodeOverlay if regenerated(touched) => works.push(Work::NodeOverlays),
            Kind::NodeOverlay => {}
            // The next plan looks at these.
            Kind::DaemonSet
            | Kind::PodDisruptionBudget
            | Kind::Namespace
            | Kind::PersistentVolumeClaim
            | Kind::PersistentVolume
            | Kind::StorageClass
            | Kind::CSINode => {}
        }
        works.retain(|work| *work != Work::NodeOverlays || self.world.settings.node_overlay);
        for work in works {
            if by != Some(&work) {
                self.queue.add(work, now);
            }
        }
    }

    /// NodeClaims whose machine the Node is.
    fn claims_on(&self, node: &str) -> Vec<Arc<str>> {
        let id = self.world.index.node(node).and_then(|n| n.spec.as_ref()?.provider_id.as_deref()).unwrap_or("");
        self.world.index.claims_of(id).into_iter().map(|c| c.name_any().into()).collect()
    }

    /// The NodeClaims of the nodes that a pod was or is on must be looked at.
    fn pod_works(&self, touched: &Touched) -> Vec<Work> {
        let pod = |object: &Option<Object>| if let Some(Object::Pod(pod)) = object { Some(pod.clone()) } else { None };
        let (old, new) = (pod(&touched.old), pod(&touched.new));
        let is_event = new.as_ref().is_some_and(|new| pod_events::is_event(old.as_deref(), new));
        let Some(node) = new.as_deref().or(old.as_deref()).and_then(cluster::pod::node_name) else { return Vec::new() };
        let claims = self.claims_on(node);
        let events = claims.iter().filter(|_| is_event).cloned().map(Work::PodEvents);
        claims.iter().cloned().map(Work::Marks).chain(events).collect()
    }

    pub(super) fn trigger(&mut self, uid: &str, now: Timestamp) {
        let planned = &self.world.planned;
        let known = planned.placed.contains(uid) || planned.refused.contains(uid);
        let work = !known || planned.version != Some(self.world.index.version());
        if self.world.batch.trigger(uid, work, now) {
            self.record(What::BatchOpened);
        }
    }
}
