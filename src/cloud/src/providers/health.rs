//! Machines that EC2's own checks find broken, or that it means to stop. Source: `A/pkg/providers/instancestatus`.

use super::filter;
use crate::port::{CloudError, Trouble, Unhealthy};
use crate::wire::Element;
use crate::wire::client::Client;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// How long a check must have failed (`UnhealthyThreshold`).
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);
const EVENTS: [&str; 5] = ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"];

/// By instance id, then by trouble. Failed checks of volumes are left alone, as upstream does.
pub async fn unhealthy(client: &Client, now: Timestamp) -> Result<Vec<Unhealthy>, CloudError> {
    // EC2 joins filters of different names by AND: each is asked for apart.
    let asked = [("instance-status.status", &["impaired"][..]), ("system-status.status", &["impaired"][..]), ("event.code", &EVENTS[..])];
    let mut found: BTreeMap<String, Vec<Trouble>> = BTreeMap::new();
    for (name, values) in asked {
        let pages = client.ec2_pages("DescribeInstanceStatus", json!({"Filters": [filter(name, values)]})).await?;
        for item in pages.iter().flat_map(|page| page.list("instanceStatusSet")) {
            if let Some(id) = item.string("instanceId") {
                found.entry(id).or_insert_with(|| troubles(item, now));
            }
        }
    }
    Ok(found.into_iter().flat_map(|(id, all)| all.into_iter().map(move |trouble| Unhealthy { instance_id: id.clone(), trouble })).collect())
}

fn troubles(item: &Element, now: Timestamp) -> Vec<Trouble> {
    let failed = |part: &str| {
        let details = item.child(part).into_iter().flat_map(|checks| checks.list("details"));
        details.filter(|check| check.text_at(&["status"]) == Some("failed")).any(|check| {
            let since = check.number::<Timestamp>(&["impairedSince"]).unwrap_or(Timestamp::UNIX_EPOCH);
            now.duration_since(since) >= PATIENCE
        })
    };
    let all = [
        (failed("instanceStatus"), Trouble::Instance),
        (failed("systemStatus"), Trouble::System),
        (item.list("eventsSet").next().is_some(), Trouble::Event),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, trouble)| trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::healthy("", &[])]
    #[case::just_now("<instanceStatus><details><item><status>failed</status><impairedSince>1970-01-01T00:08:01Z</impairedSince></item></details></instanceStatus>", &[])]
    #[case::for_two_minutes("<instanceStatus><details><item><status>failed</status><impairedSince>1970-01-01T00:08:00Z</impairedSince></item></details></instanceStatus>", &[Trouble::Instance])]
    #[case::initializing("<systemStatus><details><item><status>initializing</status></item></details></systemStatus>", &[])]
    #[case::the_host("<systemStatus><details><item><status>failed</status></item></details></systemStatus>", &[Trouble::System])]
    #[case::volumes("<attachedEbsStatus><details><item><status>failed</status></item></details></attachedEbsStatus>", &[])]
    #[case::scheduled("<eventsSet><item><code>system-reboot</code></item></eventsSet>", &[Trouble::Event])]
    fn what_counts_as_unhealthy(#[case] inner: &str, #[case] expected: &[Trouble]) {
        let item = Element::parse(format!("<item><instanceId>i-1</instanceId>{inner}</item>").as_bytes()).unwrap();
        assert_eq!(troubles(&item, "1970-01-01T00:10:00Z".parse().unwrap()), expected);
    }
}
