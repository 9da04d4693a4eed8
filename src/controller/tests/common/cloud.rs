//! A cloud with three instance types, one zone and a memory.

use ambient::Clock;
use api::EC2NodeClass;
use api::ec2nodeclass::{Ami, SecurityGroup, Subnet};
use cloud::port::{
    Answer, Cloud, CloudError, Discovery, Instance, LaunchError, LaunchRequest, Launched, Message, PlacementGroup, Validation,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use planner::{InstanceType, Offering};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use vocabulary::{CapacityType, Requirement, Requirements, Resources, UsdPerHour, labels};

const TYPES: [(&str, i64, i64, f64); 3] = [("t3.small", 2_000, 2, 0.0208), ("t3.medium", 2_000, 4, 0.0416), ("m5.large", 2_000, 8, 0.096)];
const ZONE: &str = "us-west-2a";

#[derive(Default)]
struct State {
    instances: BTreeMap<String, Instance>,
    next: u64,
    /// What the next launches meet, the oldest first.
    refusals: VecDeque<LaunchError>,
    launches: usize,
    unavailable: Vec<String>,
    shutting_down: BTreeMap<String, Timestamp>,
    subnets_missing: bool,
    /// What an answer about the placement group is.
    group: Option<Result<PlacementGroup, CloudError>>,
    /// Machines are in a partition placement group; which partition, EC2 says later.
    partitioned: bool,
    prices_refused: bool,
    price_calls: usize,
    tag_error: Option<CloudError>,
    tag_calls: usize,
    shifted: BTreeSet<String>,
}

pub fn refusal(code: &str) -> CloudError {
    CloudError { operation: "ec2:X".into(), code: code.into(), message: "no".into(), status: 400, request_id: None }
}

pub struct MemoryCloud {
    clock: Clock,
    state: Mutex<State>,
}

impl MemoryCloud {
    pub fn new(clock: Clock) -> Self {
        MemoryCloud { clock, state: Mutex::default() }
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().expect("unpoisoned"))
    }

    pub fn refuse(&self, error: LaunchError) {
        self.with(|s| s.refusals.push_back(error));
    }

    pub fn take_off(&self, instance_type: &str) {
        self.with(|s| s.unavailable.push(instance_type.to_owned()));
    }

    pub fn hide_subnets(&self, hidden: bool) {
        self.with(|s| s.subnets_missing = hidden);
    }

    pub fn answer_group(&self, group: Option<Result<PlacementGroup, CloudError>>) {
        self.with(|s| s.group = group);
    }

    pub fn in_partitions(&self) {
        self.with(|s| s.partitioned = true);
    }

    /// EC2 says which partition the machines are in.
    pub fn partition(&self, number: i64) {
        self.with(|s| s.instances.values_mut().for_each(|instance| instance.partition = Some(number)));
    }

    pub fn refuse_prices(&self, refused: bool) {
        self.with(|s| s.prices_refused = refused);
    }

    pub fn price_calls(&self) -> usize {
        self.with(|s| s.price_calls)
    }

    pub fn refuse_tags(&self, error: Option<CloudError>) {
        self.with(|s| s.tag_error = error);
    }

    pub fn tag_calls(&self) -> usize {
        self.with(|s| s.tag_calls)
    }

    pub fn shift(&self, zones: &[&str]) {
        self.with(|s| s.shifted = zones.iter().map(|zone| (*zone).to_owned()).collect());
    }

    pub fn launches(&self) -> usize {
        self.with(|s| s.launches)
    }

    /// Machines that are not on their way out.
    pub fn running(&self) -> Vec<Instance> {
        self.with(|s| s.instances.values().filter(|i| i.state == "running").cloned().collect())
    }

    /// The machine is gone from one moment to the next.
    pub fn vanish(&self, id: &str) {
        self.with(|s| s.instances.remove(id));
    }

    /// A machine that nobody knows.
    pub fn stray(&self) -> String {
        let now = self.clock.now();
        self.with(|s| s.run("m5.large", now).id)
    }

    fn settle(&self) {
        let now = self.clock.now();
        self.with(|s| {
            let gone: Vec<String> = s.shutting_down.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
            for id in gone {
                s.shutting_down.remove(&id);
                s.instances.remove(&id);
            }
        });
    }
}

impl State {
    fn run(&mut self, name: &str, now: Timestamp) -> Instance {
        self.next += 1;
        let instance = Instance {
            id: format!("i-{:08x}", self.next),
            state: "running".into(),
            instance_type: name.into(),
            image_id: "ami-1".into(),
            zone: ZONE.into(),
            zone_id: Some("usw2-az1".into()),
            subnet_id: Some("subnet-1".into()),
            security_groups: vec!["sg-1".into()],
            capacity_type: CapacityType::OnDemand,
            reservation: None,
            partition: None,
            launch_time: now,
            tags: BTreeMap::new(),
        };
        self.instances.insert(instance.id.clone(), instance.clone());
        instance
    }
}

fn resources(cpu: i64, gib: i64) -> Resources {
    Resources::new().with("cpu", cpu).with("memory", gib << 30).with("pods", 29).with("ephemeral-storage", 20 << 30)
}

fn single(pairs: &[(&str, &str)]) -> Requirements {
    pairs.iter().map(|(key, value)| Requirement::is_in(*key, *value)).collect()
}

fn ready<'a, T: Send + 'a, E: Send + 'a>(result: Result<T, E>) -> BoxFuture<'a, Result<T, E>> {
    Box::pin(std::future::ready(result))
}

impl Cloud for MemoryCloud {
    fn discover(&self) -> Answer<'_, Discovery> {
        ready(Ok(Discovery { region: "us-west-2".into(), cluster_endpoint: "https://lab".into(), service_cidr: None }))
    }

    fn refresh_instance_types(&self) -> Answer<'_, ()> {
        ready(Ok(()))
    }

    fn refresh_prices(&self) -> Answer<'_, ()> {
        ready(self.with(|s| {
            s.price_calls += 1;
            if s.prices_refused { Err(refusal("AccessDeniedException")) } else { Ok(()) }
        }))
    }

    fn refresh_zonal_shifts(&self) -> Answer<'_, BTreeSet<String>> {
        ready(Ok(self.with(|s| s.shifted.clone())))
    }

    fn resolve_placement_group<'a>(&'a self, _: &'a EC2NodeClass) -> Answer<'a, Option<PlacementGroup>> {
        ready(self.with(|s| s.group.clone()).transpose())
    }

    fn instance_types(&self, _: &EC2NodeClass, _: Timestamp) -> Result<Arc<Vec<InstanceType>>, String> {
        let unavailable = self.with(|s| s.unavailable.clone());
        let made = TYPES.iter().map(|(name, cpu, gib, price)| InstanceType {
            name: (*name).into(),
            requirements: single(&[
                (labels::INSTANCE_TYPE, name),
                (labels::ARCH, "amd64"),
                (labels::OS, "linux"),
                (labels::ZONE, ZONE),
                (labels::CAPACITY_TYPE, "on-demand"),
            ]),
            capacity: resources(*cpu, *gib),
            overlaid: false,
            allocatable: resources(cpu - 70, *gib).with("memory", (gib << 30) - (600 << 20)),
            offerings: vec![Offering {
                zone: ZONE.into(),
                zone_id: Some("usw2-az1".into()),
                capacity_type: CapacityType::OnDemand,
                price: UsdPerHour::new(*price).expect("a price"),
                available: !unavailable.iter().any(|u| u == name),
                requirements: single(&[(labels::ZONE, ZONE), (labels::CAPACITY_TYPE, "on-demand")]),
                reservation_capacity: None,
                overlaid: false,
            }],
        });
        Ok(Arc::new(made.collect()))
    }

    fn resolve_amis<'a>(&'a self, _: &'a EC2NodeClass, version: &'a str) -> Answer<'a, Vec<Ami>> {
        assert_eq!(version, "1.36");
        ready(Ok(vec![Ami { id: "ami-1".into(), deprecated: false, name: "al2023".into(), requirements: vec![] }]))
    }

    fn resolve_subnets<'a>(&'a self, _: &'a EC2NodeClass) -> Answer<'a, Vec<Subnet>> {
        let none = self.with(|s| s.subnets_missing);
        ready(Ok(if none { vec![] } else { vec![Subnet { id: "subnet-1".into(), zone: ZONE.into(), zone_id: "usw2-az1".into() }] }))
    }

    fn resolve_security_groups<'a>(&'a self, _: &'a EC2NodeClass) -> Answer<'a, Vec<SecurityGroup>> {
        ready(Ok(vec![SecurityGroup { id: "sg-1".into(), name: "nodes".into() }]))
    }

    fn ensure_instance_profile<'a>(&'a self, _: &'a EC2NodeClass) -> Answer<'a, String> {
        ready(Ok("lab_1".into()))
    }

    fn validate<'a>(&'a self, class: &'a EC2NodeClass) -> BoxFuture<'a, Validation> {
        assert!(class.status.as_ref().is_some_and(|s| !s.subnets.is_empty() && !s.amis.is_empty()), "validated with what was resolved");
        Box::pin(std::future::ready(Validation::Passed))
    }

    fn launch(&self, request: LaunchRequest) -> Answer<'_, Launched, LaunchError> {
        Box::pin(async move {
            self.clock.sleep(SignedDuration::from_millis(1_500)).await;
            let now = self.clock.now();
            self.with(|s| {
                s.launches += 1;
                if let Some(error) = s.refusals.pop_front() {
                    return Err(error);
                }
                let asked = request.claim.spec.requirements.iter().find(|r| r.key == labels::INSTANCE_TYPE).expect("instance types");
                let name = asked.values.first().expect("a type").clone();
                let (_, cpu, gib, price) = TYPES.iter().find(|(n, ..)| *n == name).expect("a known type");
                let instance = s.run(&name, now);
                let placed = if s.partitioned {
                    vec![(labels::PLACEMENT_GROUP_ID, "pg-1"), (labels::PLACEMENT_GROUP_PARTITION, "")]
                } else {
                    vec![]
                };
                let all = [
                    (labels::INSTANCE_TYPE, name.as_str()),
                    (labels::ZONE, ZONE),
                    (labels::CAPACITY_TYPE, "on-demand"),
                    (labels::ARCH, "amd64"),
                ];
                Ok(Launched {
                    provider_id: instance.provider_id(),
                    instance_id: instance.id.clone(),
                    image_id: "ami-1".into(),
                    instance_type: name.as_str().into(),
                    zone: ZONE.into(),
                    capacity_type: CapacityType::OnDemand,
                    labels: all.iter().chain(&placed).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                    annotations: BTreeMap::from([(labels::INSTANCE_PROFILE_NAME.to_owned(), "lab_1".to_owned())]),
                    capacity: resources(*cpu, *gib),
                    allocatable: resources(cpu - 70, *gib).with("memory", (gib << 30) - (600 << 20)),
                    price: UsdPerHour::new(*price).expect("a price"),
                })
            })
        })
    }

    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Instance>> {
        self.settle();
        ready(Ok(self.with(|s| s.instances.get(id).cloned())))
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        self.settle();
        ready(Ok(self.with(|s| s.instances.values().cloned().collect())))
    }

    fn terminate<'a>(&'a self, id: &'a str) -> Answer<'a, bool> {
        self.settle();
        let end = self.clock.now().saturating_add(SignedDuration::from_secs(12)).unwrap_or(Timestamp::MAX);
        ready(Ok(self.with(|s| {
            let Some(instance) = s.instances.get_mut(id) else { return false };
            instance.state = "shutting-down".into();
            s.shutting_down.entry(id.to_owned()).or_insert(end);
            true
        })))
    }

    fn tag<'a>(&'a self, id: &'a str, tags: &'a BTreeMap<String, String>) -> Answer<'a, ()> {
        ready(self.with(|s| {
            s.tag_calls += 1;
            if let Some(error) = &s.tag_error {
                return Err(error.clone());
            }
            s.instances.get_mut(id).map(|i| i.tags.extend(tags.clone()));
            Ok(())
        }))
    }

    fn clean_up<'a>(&'a self, _: &'a EC2NodeClass) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn expire_launch_templates(&self) -> Answer<'_, usize> {
        ready(Ok(0))
    }

    fn receive_messages(&self) -> Answer<'_, Vec<Message>> {
        ready(Ok(vec![]))
    }

    fn delete_message<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        ready(Ok(()))
    }

    fn mark_unavailable(&self, instance_type: &str, _: &str, _: CapacityType, _: Timestamp) {
        self.take_off(instance_type);
    }
}
