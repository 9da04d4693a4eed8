//! Machines: get, list, terminate, tag. Source: `A/pkg/providers/instance/instance.go`, `A/pkg/batcher`.

use super::zonal_shift::ZonalShifts;
use super::{filter, tag_list};
use crate::batch::{Batcher, Window};
use crate::port::{CloudError, Instance};
use crate::telling::{Report, tell};
use crate::wire::Element;
use crate::wire::client::{Call, Client, Page, lock};
use ambient::Clock;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vocabulary::{CapacityType, labels};

/// Terminated machines do not count: they are not found.
const STATES: [&str; 5] = ["pending", "running", "stopping", "stopped", "shutting-down"];

const fn window(name: &'static str) -> Window {
    Window { name, idle: Duration::from_millis(100), longest: Duration::from_secs(1), most: 500 }
}

pub struct Instances {
    client: Arc<Client>,
    cluster: String,
    reserved_capacity: bool,
    clock: Clock,
    shifts: ZonalShifts,
    describe: Batcher<String, Option<Element>>,
    terminate: Batcher<String, ()>,
    /// As last described; kept up by [`Self::list`].
    known: Mutex<BTreeMap<String, Instance>>,
    /// The pages of the last list.
    listed: Mutex<Vec<Arc<Page<Vec<Instance>>>>>,
}

impl Instances {
    pub fn new(client: &Arc<Client>, cluster: &str, reserved_capacity: bool, clock: &Clock, shifts: &ZonalShifts) -> Self {
        let (describer, terminator) = (client.clone(), client.clone());
        Instances {
            client: client.clone(),
            cluster: cluster.to_owned(),
            reserved_capacity,
            clock: clock.clone(),
            shifts: shifts.clone(),
            describe: Batcher::new(window("describe_instances"), move |ids| describe_batch(describer.clone(), ids)),
            terminate: Batcher::new(window("terminate_instances"), move |ids| terminate_batch(terminator.clone(), ids)),
            known: Mutex::new(BTreeMap::new()),
            listed: Mutex::default(),
        }
    }

    /// As the cloud says now; `None` when it does not know the machine, or no longer. A machine in a zone that is shifted away from is as it
    /// was last known: nobody asks after it.
    pub async fn get(&self, id: &str) -> Result<Option<Instance>, CloudError> {
        if let Some(instance) = self.known(id).filter(|instance| self.is_shifted(instance)) {
            return Ok(Some(instance));
        }
        let found = match self.describe.add(String::new(), id.to_owned()).await {
            Ok(found) => found.as_ref().and_then(|item| self.read(item)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        match &found {
            Some(instance) => lock(&self.known).insert(id.to_owned(), instance.clone()),
            None => lock(&self.known).remove(id),
        };
        Ok(found)
    }

    /// As it was last described, without a call.
    pub fn known(&self, id: &str) -> Option<Instance> {
        lock(&self.known).get(id).cloned()
    }

    /// Every machine of the cluster, by id.
    pub async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        let parameters = json!({
            "Filters": [
                filter("tag-key", &[labels::NODEPOOL]),
                filter("tag-key", &[labels::EC2NODECLASS]),
                filter(&format!("tag:{}", labels::TAG_CLUSTER_NAME), &[&self.cluster]),
                filter("instance-state-name", &STATES),
            ],
            "MaxResults": 1000,
        });
        let read = |page: &Element| items(page).filter_map(|item| self.read(item)).collect::<Vec<Instance>>();
        let pages = self.client.ec2_polled("DescribeInstances", parameters, &self.listed, read).await?;
        let listed = pages.iter().flat_map(|page| &page.content);
        let found: BTreeMap<String, Instance> = listed.map(|instance| (instance.id.clone(), instance.clone())).collect();
        // A zone in trouble may not list its machines.
        let mut known = lock(&self.known);
        known.retain(|_, instance| self.is_shifted(instance));
        known.extend(found.clone());
        Ok(found.into_values().collect())
    }

    /// Asks first, so that a machine that is going already costs no call. `false` when it is gone.
    pub async fn terminate(&self, id: &str) -> Result<bool, CloudError> {
        match self.get(id).await? {
            None => Ok(false),
            Some(instance) if self.is_shifted(&instance) => Err(skipped("TerminateInstances", &instance, "skipping termination")),
            Some(instance) if instance.state == "shutting-down" => Ok(true),
            Some(instance) => {
                let answer = self.terminate.add(String::new(), id.to_owned()).await;
                if answer.is_err() {
                    let zone_id = instance.zone_id.as_deref().unwrap_or_default().to_owned();
                    tell(Report::TerminationFailure { zone: instance.zone.to_string(), zone_id });
                }
                answer.map(|()| true)
            }
        }
    }

    fn is_shifted(&self, instance: &Instance) -> bool {
        self.shifts.is_shifted(instance.zone_id.as_deref(), self.clock.now())
    }

    pub async fn tag(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), CloudError> {
        if let Some(instance) = self.known(id).filter(|instance| self.is_shifted(instance)) {
            return Err(skipped("CreateTags", &instance, "skipping tag creation"));
        }
        self.client.call(&Call::ec2("CreateTags", json!({"Resources": [id], "Tags": tag_list(tags)}))).await.map(drop)
    }

    fn read(&self, item: &Element) -> Option<Instance> {
        let preference = item.text_at(&["capacityReservationSpecification", "capacityReservationPreference"]);
        let reserved =
            self.reserved_capacity && item.child("capacityReservationId").is_some() && preference == Some("capacity-reservations-only");
        let capacity_type = match item.child("spotInstanceRequestId") {
            Some(_) => CapacityType::Spot,
            None if reserved => CapacityType::Reserved,
            None => CapacityType::OnDemand,
        };
        let tag = |tag: &Element| Some((tag.string("key")?, tag.string("value").unwrap_or_default()));
        Some(Instance {
            id: item.string("instanceId")?,
            state: item.text_at(&["instanceState", "name"]).unwrap_or_default().to_owned(),
            instance_type: Arc::from(item.text_at(&["instanceType"]).unwrap_or_default()),
            image_id: item.string("imageId").unwrap_or_default(),
            zone: Arc::from(item.text_at(&["placement", "availabilityZone"]).unwrap_or_default()),
            zone_id: item.text_at(&["placement", "availabilityZoneId"]).map(Arc::from),
            subnet_id: item.string("subnetId"),
            security_groups: item.list("groupSet").filter_map(|group| group.string("groupId")).collect(),
            capacity_type,
            reservation: item.string("capacityReservationId").filter(|_| capacity_type == CapacityType::Reserved),
            launch_time: item.number(&["launchTime"]).unwrap_or(Timestamp::UNIX_EPOCH),
            partition: item.number(&["placement", "partitionNumber"]),
            tags: item.list("tagSet").filter_map(tag).collect(),
        })
    }
}

/// A call that is not made while the machine's zone is shifted away from.
fn skipped(operation: &str, instance: &Instance, what: &str) -> CloudError {
    let Instance { id, zone, .. } = instance;
    CloudError {
        operation: format!("ec2:{operation}"),
        code: "ZonalShift".to_owned(),
        message: format!(
            "instance {id} is in zonally shifted availability zone {zone} ({}), {what}",
            instance.zone_id.as_deref().unwrap_or_default()
        ),
        status: 0,
        request_id: None,
    }
}

fn items(page: &Element) -> impl Iterator<Item = &Element> {
    page.list("reservationSet").flat_map(|reservation| reservation.list("instancesSet"))
}

fn by_id(ids: &[String]) -> Value {
    json!({"InstanceIds": ids, "Filters": [filter("instance-state-name", &STATES)]})
}

type Shares<O> = BoxFuture<'static, Vec<Result<O, CloudError>>>;

/// One call for all; those that its answer lacks are asked for one by one, since one bad id can spoil a batch.
fn describe_batch(client: Arc<Client>, ids: Vec<String>) -> Shares<Option<Element>> {
    Box::pin(async move {
        let unique = unique(&ids);
        let pages = client.ec2_pages("DescribeInstances", by_id(&unique)).await.unwrap_or_default();
        let mut found: BTreeMap<String, Result<Option<Element>, CloudError>> =
            pages.iter().flat_map(items).filter_map(|item| Some((item.string("instanceId")?, Ok(Some(item.clone()))))).collect();
        let missing = unique.iter().filter(|id| !found.contains_key(*id));
        let single = join_all(missing.map(|id| {
            let client = &client;
            async move {
                let call = Call::ec2("DescribeInstances", by_id(std::slice::from_ref(id)));
                let answer = client.call(&call).await.map(|reply| items(&reply.xml()).next().cloned());
                (id.clone(), answer)
            }
        }))
        .await;
        found.extend(single);
        ids.iter().map(|id| found.get(id).cloned().unwrap_or(Ok(None))).collect()
    })
}

/// One call for all; those that are not going afterwards are terminated one by one.
fn terminate_batch(client: Arc<Client>, ids: Vec<String>) -> Shares<()> {
    Box::pin(async move {
        let unique = unique(&ids);
        let reply = client.call(&Call::ec2("TerminateInstances", json!({"InstanceIds": unique}))).await;
        let root = reply.map(crate::wire::Reply::xml).unwrap_or_else(|error| {
            tracing::error!(error = error.to_string(), "failed terminating instances");
            Element::default()
        });
        let going = |item: &&Element| matches!(item.text_at(&["currentState", "name"]), Some("shutting-down" | "terminated"));
        let mut done: BTreeMap<String, Result<(), CloudError>> =
            root.list("instancesSet").filter(going).filter_map(|item| Some((item.string("instanceId")?, Ok(())))).collect();
        let missing = unique.iter().filter(|id| !done.contains_key(*id));
        let single = join_all(missing.map(|id| {
            let client = &client;
            async move { (id.clone(), client.call(&Call::ec2("TerminateInstances", json!({"InstanceIds": [id]}))).await.map(drop)) }
        }))
        .await;
        done.extend(single);
        ids.iter().map(|id| done.get(id).cloned().unwrap_or(Ok(()))).collect()
    })
}

/// In order of arrival, each once.
fn unique(ids: &[String]) -> Vec<String> {
    ids.iter().cloned().collect::<indexmap::IndexSet<_>>().into_iter().collect()
}
