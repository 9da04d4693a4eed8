//! CreateFleet: what is asked, and what came of it. Source: `A/pkg/providers/instance/{types,instance}.go`, `A/pkg/batcher/createfleet.go`.

use super::filters::label;
use super::template::{Reserved, Template};
use crate::batch::{Batcher, Window};
use crate::errors;
use crate::labels as aws;
use crate::port::{Cause, CloudError, LaunchError};
use crate::providers::reservations::CAPACITY_BLOCK;
use crate::providers::subnets::ZonalSubnet;
use crate::providers::tag_list;
use crate::wire::Element;
use crate::wire::client::{Call, Client};
use planner::Offering;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use vocabulary::{CapacityType, Requirements};

const WINDOW: Window = Window { name: "create_fleet", idle: Duration::from_millis(35), longest: Duration::from_secs(1), most: 1_000 };

/// The pool that a machine or an error of a fleet belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub instance_type: String,
    pub image: String,
    pub zone: String,
    pub subnet: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetError {
    pub code: String,
    pub message: String,
    pub overrides: Overrides,
    /// The fleet's id.
    pub fleet: Option<String>,
}

/// One caller's share of a fleet's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub machine: Option<(String, Overrides)>,
    /// The whole list, to everybody.
    pub errors: Vec<FleetError>,
}

pub type Fleets = Batcher<Value, Share>;

/// Equal requests within the window become one fleet of as many machines.
pub fn batcher(client: &Arc<Client>) -> Fleets {
    let client = client.clone();
    Batcher::new(WINDOW, move |inputs: Vec<Value>| {
        let client = client.clone();
        Box::pin(async move {
            let count = inputs.len();
            let mut parameters = inputs.into_iter().next().unwrap_or_default();
            parameters["TargetCapacitySpecification"]["TotalTargetCapacity"] = json!(count);
            parameters["ClientToken"] = json!(client.id());
            match client.call(&Call::ec2("CreateFleet", parameters)).await {
                Ok(reply) => shares(&reply.xml(), count).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); count],
            }
        })
    })
}

/// Machines are dealt out in order; who gets none gets the errors, of which there is at least one.
fn shares(root: &Element, count: usize) -> Vec<Share> {
    let errors: Vec<FleetError> = root
        .list("errorSet")
        .map(|item| FleetError {
            code: item.string("errorCode").unwrap_or_default(),
            message: item.string("errorMessage").unwrap_or_default(),
            overrides: overrides_of(item),
            fleet: root.string("fleetId"),
        })
        .collect();
    let machines = root.list("fleetInstanceSet").flat_map(|item| {
        let overrides = Overrides { instance_type: item.string("instanceType").unwrap_or_default(), ..overrides_of(item) };
        item.texts("instanceIds").into_iter().map(move |id| (id, overrides.clone()))
    });
    let mut shares: Vec<Share> = machines.map(|machine| Share { machine: Some(machine), errors: errors.clone() }).collect();
    if shares.len() > count {
        tracing::error!(received = shares.len(), requested = count, "received more instances than requested");
        shares.truncate(count);
    }
    let lacking = if errors.is_empty() {
        let text = "too few instances returned".to_owned();
        vec![FleetError { code: text.clone(), message: text, overrides: Overrides::default(), fleet: None }]
    } else {
        // Whoever got no machine is not told of the fleet (`A/pkg/batcher/createfleet.go`).
        errors.into_iter().map(|error| FleetError { fleet: None, ..error }).collect()
    };
    shares.resize(count, Share { machine: None, errors: lacking });
    shares
}

fn overrides_of(item: &Element) -> Overrides {
    let text = |name: &str| item.text_at(&["launchTemplateAndOverrides", "overrides", name]).unwrap_or_default().to_owned();
    Overrides { instance_type: text("instanceType"), image: text("imageId"), zone: text("availabilityZone"), subnet: text("subnetId") }
}

/// What varies between fleets.
pub struct Order<'a> {
    pub capacity_type: CapacityType,
    pub tags: &'a BTreeMap<String, String>,
    /// `spec.context`.
    pub context: Option<&'a str>,
    /// A price overlay applies: types are ranked by it.
    pub overlay: bool,
    /// The kind of reservations that a reserved launch is of.
    pub reserved: Option<Reserved>,
}

/// Parameters of CreateFleet for one machine, without the client token.
pub fn request(order: &Order<'_>, configs: Vec<Value>) -> Value {
    let tags = tag_list(order.tags);
    let tagged: Vec<Value> = ["instance", "volume", "fleet"].iter().map(|kind| json!({"ResourceType": kind, "Tags": tags})).collect();
    let mut request = Map::new();
    let mut put = |name: &str, value: Value| request.insert(name.to_owned(), value);
    put("Type", json!("instant"));
    if let Some(context) = order.context {
        put("Context", json!(context));
    }
    put("LaunchTemplateConfigs", Value::Array(configs));
    let block = order.reserved.as_ref().is_some_and(|reserved| reserved.kind == CAPACITY_BLOCK);
    let interruptible = order.reserved.as_ref().is_some_and(|reserved| reserved.interruptible);
    let target = match order.capacity_type {
        CapacityType::Spot => "spot",
        CapacityType::Reserved if block => "capacity-block",
        CapacityType::Reserved if interruptible => "reserved-capacity",
        _ => "on-demand",
    };
    put("TargetCapacitySpecification", json!({"DefaultTargetCapacityType": target, "TotalTargetCapacity": 1}));
    put("TagSpecifications", Value::Array(tagged));
    if order.capacity_type == CapacityType::Spot {
        let strategy = if order.overlay { "capacity-optimized-prioritized" } else { "price-capacity-optimized" };
        put("SpotOptions", json!({"AllocationStrategy": strategy}));
    } else if interruptible {
        put("ReservedCapacityOptions", json!({"ReservationTypes": ["interruptible-capacity-reservation"]}));
    } else if !block {
        put("OnDemandOptions", json!({"AllocationStrategy": if order.overlay { "prioritized" } else { "lowest-price" }}));
    }
    Value::Object(request)
}

/// One entry per template that has at least one override.
pub fn configs(templates: &[Template], zonal: &BTreeMap<String, ZonalSubnet>, wanted: &Requirements) -> Vec<Value> {
    let config = |template: &Template| {
        let overrides = overrides(template, zonal, wanted);
        (!overrides.is_empty()).then(|| json!({"LaunchTemplateSpecification": specification(&template.name), "Overrides": overrides}))
    };
    templates.iter().filter_map(config).collect()
}

pub fn specification(template: &str) -> Value {
    json!({"LaunchTemplateName": template, "Version": "$Latest"})
}

/// A pool per type and zone, in the order of types, then of zones; the price is the priority.
fn overrides(template: &Template, zonal: &BTreeMap<String, ZonalSubnet>, wanted: &Requirements) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut overrides = Vec::new();
    for kind in &template.types {
        let own = |o: &&Offering| template.reservation.as_deref().is_none_or(|id| label(o, aws::RESERVATION_ID) == id);
        let suits = |o: &&Offering| o.available && wanted.is_compatible(&o.requirements, aws::is_well_known) && own(o);
        for offering in kind.offerings.iter().filter(suits) {
            let Some(subnet) = zonal.get(&*offering.zone) else { continue };
            if seen.insert((kind.name.clone(), offering.zone.clone())) {
                overrides.push(json!({
                    "InstanceType": &*kind.name,
                    "SubnetId": subnet.id,
                    "ImageId": template.image,
                    "AvailabilityZone": subnet.zone,
                    "Priority": offering.price.dollars(),
                }));
            }
        }
    }
    overrides
}

/// The subnets that a request offers.
pub fn offered_subnets(configs: &[Value]) -> BTreeSet<String> {
    let overrides = configs.iter().filter_map(|config| config["Overrides"].as_array()).flatten();
    overrides.filter_map(|entry| entry["SubnetId"].as_str()).map(str::to_owned).collect()
}

/// Through whose hands a launch's error goes upstream (`A/pkg/cloudprovider/cloudprovider.go`, Create, and core's CreateError).
pub const MAKING: &str = "creating instance, creating nodeclaim";

/// The failure of a fleet without a machine (`combineFleetErrors`): capacity if every error is about capacity.
pub fn combine(fleet_errors: &[FleetError]) -> LaunchError {
    let unique: BTreeSet<String> = fleet_errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect();
    let text = unique.into_iter().collect::<Vec<_>>().join("; ");
    let about_capacity =
        |error: &FleetError| errors::is_unfulfillable(&error.code) || error.code == errors::SERVICE_LINKED_ROLE_NOT_PERMITTED;
    if fleet_errors.iter().all(about_capacity) {
        return LaunchError::InsufficientCapacity(format!("with fleet error(s), {text}"));
    }
    let (reason, message) = errors::reason(&text);
    LaunchError::Failed { reason: reason.to_owned(), message: message.to_owned(), cause: Cause::from(text).within(MAKING) }
}

/// The failure of the call itself.
pub fn call_failed(error: &CloudError) -> LaunchError {
    let (reason, message) = errors::reason(&format!("{}: {}", error.code, error.message));
    let (what, doing) = if error.is_launch_template_not_found() {
        ("Launch templates not found when creating fleet request", "launch templates not found when creating fleet request")
    } else {
        ("Error creating fleet request", "creating fleet request")
    };
    LaunchError::Failed { reason: reason.to_owned(), message: format!("{what}: {message}"), cause: Cause::of(doing, error).within(MAKING) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(machines: &[&str], codes: &[&str]) -> Element {
        let pool = "<launchTemplateAndOverrides><overrides><instanceType>m5.large</instanceType><availabilityZone>a</availabilityZone>\
                    <subnetId>subnet-1</subnetId><imageId>ami-1</imageId></overrides></launchTemplateAndOverrides>";
        let ids: String = machines.iter().map(|id| format!("<item>{id}</item>")).collect();
        let errors: String =
            codes.iter().map(|code| format!("<item>{pool}<errorCode>{code}</errorCode><errorMessage>m</errorMessage></item>")).collect();
        let text = format!(
            "<CreateFleetResponse><errorSet>{errors}</errorSet><fleetInstanceSet><item>{pool}<instanceIds>{ids}</instanceIds>\
             <instanceType>m5.large</instanceType></item></fleetInstanceSet></CreateFleetResponse>"
        );
        Element::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn machines_are_dealt_out_and_errors_go_to_everybody() {
        let dealt = shares(&answer(&["i-1", "i-2"], &["VcpuLimitExceeded"]), 3);
        let ids: Vec<_> = dealt.iter().map(|share| share.machine.as_ref().map(|(id, _)| id.as_str())).collect();
        assert_eq!(ids, [Some("i-1"), Some("i-2"), None]);
        assert!(dealt.iter().all(|share| share.errors.len() == 1 && share.errors[0].overrides.subnet == "subnet-1"));
    }

    #[test]
    fn who_gets_nothing_is_told_something() {
        let dealt = shares(&answer(&["i-1"], &[]), 2);
        assert_eq!(dealt[0].errors, []);
        assert_eq!(dealt[1].errors[0].code, "too few instances returned");
        assert_eq!(shares(&answer(&["i-1", "i-2"], &[]), 1).len(), 1);
        assert!(matches!(combine(&dealt[1].errors), LaunchError::Failed { reason, .. } if reason == "LaunchFailed"));
    }

    #[test]
    fn only_capacity_errors_alone_delete_the_claim() {
        let error =
            |code: &str| FleetError { code: code.to_owned(), message: "m".to_owned(), overrides: Overrides::default(), fleet: None };
        let insufficient =
            combine(&[error("InsufficientInstanceCapacity"), error("UnfulfillableCapacity"), error("UnfulfillableCapacity")]);
        assert_eq!(
            insufficient,
            LaunchError::InsufficientCapacity("with fleet error(s), InsufficientInstanceCapacity: m; UnfulfillableCapacity: m".to_owned())
        );
        let mixed = combine(&[error("InsufficientInstanceCapacity"), error("UnauthorizedOperation")]);
        assert!(matches!(mixed, LaunchError::Failed { reason, .. } if reason == "Unauthorized"));
    }
}
