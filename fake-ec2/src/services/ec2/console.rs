//! What a machine's console shows: what was set, by whoever plays the machine; else the log of a boot that went well, made of what the
//! account knows of it, so that it is the same whenever it is read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::protocol::Call;
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::instance::Instance;
use crate::state::lifecycle::later;
use crate::state::machine::{Phase, private_dns_name};

pub(super) fn output(world: &World<'_>, call: &Call) -> Answer {
    let id = call.input.need("InstanceId")?;
    let instance = world.region.instances.get(id).ok_or_else(|| errors::INSTANCE_NOT_FOUND.error(&[id]))?;
    let shown = instance.console.clone().or_else(|| {
        let booted = instance.phase != Phase::Pending;
        booted.then(|| (instance.launched, boot(world, instance)))
    });
    let answer = Out::new().with("InstanceId", id).with("Timestamp", stamp(shown.as_ref().map_or(world.now, |(at, _)| *at)));
    Ok(answer.maybe("Output", shown.map(|(_, text)| STANDARD.encode(text))).done())
}

/// Lines in the manner of a kernel, cloud-init and a login prompt.
fn boot(world: &World<'_>, instance: &Instance) -> String {
    let image = world.region.images.get(&instance.image_id);
    let interface = instance.interfaces.first().and_then(|id| world.region.interfaces.get(id));
    let address = interface.and_then(|interface| interface.address);
    let name = address.map(|address| private_dns_name(&world.region.name, address)).unwrap_or_default();
    let at = |seconds: i64| later(instance.launched, jiff::SignedDuration::from_secs(seconds));
    let clock = |at: Timestamp| at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    let mut lines = vec![
        format!("[    0.000000] Linux version 6.12 ({})", image.map_or("x86_64", |image| image.architecture)),
        format!("[    0.000000] DMI: Amazon EC2 {}/, BIOS 1.0", instance.instance_type),
        format!("[    1.204000] Hostname set to <{name}>"),
        format!("cloud-init: running 'init' at {}. Up 4.10 seconds.", clock(at(4))),
    ];
    let shown = address.map_or("none".to_owned(), |address| address.to_string());
    lines.push(format!("ci-info: ens5 up {shown} {}", interface.map_or("", |interface| &interface.mac)));
    lines.push(format!("cloud-init: instance-id {}, image {}, zone {}", instance.id, instance.image_id, instance.zone.name));
    lines.push(format!("cloud-init: user-data: {}", user_data(instance.user_data.as_deref())));
    lines.push(format!("cloud-init: finished at {}. Datasource DataSourceEc2. Up 9.80 seconds.", clock(at(9))));
    lines.push(String::new());
    lines.push(format!("{} login: ", name.split('.').next().unwrap_or_default()));
    lines.join("\r\n")
}

/// The kind of a document by its beginning, as cloud-init and Bottlerocket tell them apart, and its size.
/// Source: cloud-init documentation, "User-data formats".
fn user_data(sent: Option<&str>) -> String {
    let Some(bytes) = sent.and_then(|sent| STANDARD.decode(sent).ok()).filter(|bytes| !bytes.is_empty()) else { return "none".to_owned() };
    let text = String::from_utf8_lossy(&bytes);
    let start = text.trim_start();
    let kind = match start {
        _ if bytes.starts_with(&[0x1f, 0x8b]) => "application/gzip",
        _ if start.starts_with("#!") => "text/x-shellscript",
        _ if start.starts_with("#cloud-config") => "text/cloud-config",
        _ if start.starts_with("MIME-Version:") || start.starts_with("Content-Type:") => "multipart/mixed",
        _ if start.contains("[settings") => "Bottlerocket settings (TOML)",
        _ if start.starts_with("apiVersion: node.eks.aws") => "application/node.eks.aws",
        _ => "of no known kind",
    };
    format!("{kind}, {} bytes", bytes.len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "none")]
    #[case("#!/bin/sh\ntrue\n", "text/x-shellscript, 15 bytes")]
    #[case("MIME-Version: 1.0\n", "multipart/mixed, 18 bytes")]
    #[case("[settings.kubernetes]\n", "Bottlerocket settings (TOML), 22 bytes")]
    #[case("#cloud-config\n", "text/cloud-config, 14 bytes")]
    #[case("hello", "of no known kind, 5 bytes")]
    fn kinds(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(user_data(Some(&STANDARD.encode(text))), shown);
    }
}
