//! One attribute of an instance at a time.

use serde_json::{Value, json};

use crate::catalogue;
use crate::protocol::{AwsError, Call};
use crate::services::input::{Members, Out, Read};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::instance::Instance;
use crate::state::machine::Phase;

fn known<'a>(world: &'a World<'_>, id: &str) -> Result<&'a Instance, AwsError> {
    let found = world.region.instances.get(id).filter(|instance| instance.found <= world.now);
    found.ok_or_else(|| errors::INSTANCE_NOT_FOUND.error(&[id]))
}

fn value(value: impl Into<Value>) -> Value {
    json!({ "Value": value.into() })
}

pub(super) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let instance = known(world, call.input.need("InstanceId")?)?;
    let shown = Out::new().with("InstanceId", instance.id.clone());
    let shown = match call.input.text("Attribute").unwrap_or_default() {
        "instanceType" => shown.with("InstanceType", value(instance.instance_type)),
        "userData" => shown.with("UserData", instance.user_data.clone().map_or_else(|| json!({}), value)),
        "disableApiTermination" => shown.with("DisableApiTermination", value(instance.keep.0)),
        "disableApiStop" => shown.with("DisableApiStop", value(instance.keep.1)),
        "instanceInitiatedShutdownBehavior" => shown.with("InstanceInitiatedShutdownBehavior", value("stop")),
        "rootDeviceName" => {
            let image = world.region.images.get(&instance.image_id);
            shown.with("RootDeviceName", value(image.map_or("/dev/xvda", |image| image.root_device)))
        }
        "sourceDestCheck" => shown.with("SourceDestCheck", value(true)),
        "ebsOptimized" => shown.with("EbsOptimized", value(instance.ebs_optimized)),
        "enaSupport" => shown.with("EnaSupport", value(true)),
        "enclaveOptions" => shown.with("EnclaveOptions", json!({"Enabled": instance.enclave})),
        "groupSet" => {
            let groups = instance.interfaces.first().and_then(|id| world.region.interfaces.get(id)).map(|it| it.groups.clone());
            shown.with("Groups", super::network::render_groups(world, &groups.unwrap_or_default()))
        }
        "kernel" | "ramdisk" | "sriovNetSupport" => shown,
        "blockDeviceMapping" => {
            let row = super::instances::render(world, instance);
            shown.with("BlockDeviceMappings", row["BlockDeviceMappings"].clone())
        }
        "productCodes" => shown.with("ProductCodes", json!([])),
        other => return Err(errors::invalid(other, "attribute", "Unknown attribute.")),
    };
    Ok(shown.done())
}

/// What may be changed: type and user data of a stopped instance, protection, groups.
pub(super) fn modify(world: &mut World<'_>, call: &Call) -> Answer {
    let input = &call.input;
    let instance = known(world, input.need("InstanceId")?)?;
    let (id, stopped, keep) = (instance.id.clone(), instance.phase == Phase::Stopped, instance.keep);
    let interface = instance.interfaces.first().cloned();
    let named = input.text("Attribute");
    // Either a member of its own, or `Attribute` and `Value`.
    let text = |member: &str, attribute: &str| {
        of(input, member).or_else(|| input.text("Value").filter(|_| named == Some(attribute)).map(str::to_owned))
    };
    let flag = |member: &str, attribute: &str| text(member, attribute).and_then(|text| text.parse::<bool>().ok());
    let kind = match text("InstanceType", "instanceType") {
        None => None,
        Some(_) if !stopped => return Err(errors::INSTANCE_STATE.error(&[&id, "modified"])),
        Some(name) => Some(catalogue::instance_type(&name).ok_or_else(|| errors::TYPE_INVALID.error(&[&name]))?.name()),
    };
    let user_data = text("UserData", "userData");
    if user_data.is_some() && !stopped {
        return Err(errors::INSTANCE_STATE.error(&[&id, "modified"]));
    }
    super::templates::check_user_data(user_data.as_deref())?;
    let groups = input.texts("Groups");
    if let Some(unknown) = groups.iter().find(|group| !world.region.groups.contains_key(**group)) {
        return Err(errors::GROUP_NOT_FOUND.error(&[unknown]));
    }
    let keep = (
        flag("DisableApiTermination", "disableApiTermination").unwrap_or(keep.0),
        flag("DisableApiStop", "disableApiStop").unwrap_or(keep.1),
    );
    super::dry_run(call)?;
    if let Some(instance) = world.region.instances.get_mut(&id) {
        instance.keep = keep;
        instance.instance_type = kind.unwrap_or(instance.instance_type);
        instance.user_data = user_data.or_else(|| instance.user_data.take());
    }
    if let Some(interface) = interface.filter(|_| !groups.is_empty()).and_then(|id| world.region.interfaces.get_mut(&id)) {
        interface.groups = groups.into_iter().map(str::to_owned).collect();
    }
    world.account.machines_version += 1;
    Ok(Out::new().done())
}

/// The `Value` of an attribute's structure.
fn of(input: &Members, member: &str) -> Option<String> {
    let value = input.part(member)?.get("Value")?;
    value.as_str().map(str::to_owned).or_else(|| value.as_bool().map(|flag| flag.to_string()))
}
