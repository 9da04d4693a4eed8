//! A NodeClass, its types and its status.

use super::account::Account;
use super::*;
use crate::port::Cloud;
use api::ec2nodeclass::KubeletConfiguration;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use std::time::Duration;

#[rstest]
#[case("t3.small", "1930m", "1418Mi", 11)]
#[case("t3.medium", "1930m", "3246Mi", 17)]
#[case("m5.large", "1930m", "6903Mi", 29)]
#[case("m5.2xlarge", "7910m", "29317Mi", 58)]
#[tokio::test(start_paused = true)]
async fn machines_leave_pods_what_upstream_says(#[case] name: &str, #[case] cpu: &str, #[case] memory: &str, #[case] pods: i64) {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let types = cloud.instance_types(&class, Timestamp::UNIX_EPOCH).unwrap();
    let kind = types.iter().find(|kind| &*kind.name == name).unwrap();
    let amounts = kind.allocatable.to_quantities();
    assert_eq!((amounts["cpu"].as_str(), amounts["memory"].as_str(), kind.allocatable.get("pods")), (cpu, memory, pods));
    // 20Gi less 1Gi and a tenth.
    assert_eq!(kind.allocatable.get("ephemeral-storage"), (20 << 30) - (1 << 30) - (2 << 30));
}

#[tokio::test(start_paused = true)]
async fn kubelet_settings_size_a_node() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let mut class = ready(&cloud).await;
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    class.spec.kubelet = Some(KubeletConfiguration {
        max_pods: Some(50),
        pods_per_core: Some(10),
        kube_reserved: map(&[("cpu", "200m")]),
        system_reserved: map(&[("memory", "100Mi"), ("pid", "100")]),
        eviction_hard: map(&[("memory.available", "5%"), ("nodefs.available", "100%")]),
        ..KubeletConfiguration::default()
    });
    let types = cloud.instance_types(&class, Timestamp::UNIX_EPOCH).unwrap();
    let kind = types.iter().find(|kind| &*kind.name == "m5.large").unwrap();
    assert_eq!((kind.allocatable.get("cpu"), kind.allocatable.get("pods")), (1_800, 20));
    // 7577 Mi less 574 reserved for the ENIs' pods, 100 for the system and 5 % of itself, rounded up to whole bytes.
    let five_percent = ((7_577i64 << 20) as f64 / 100.0 * 5.0).ceil() as i64;
    assert_eq!(kind.allocatable.get("memory"), ((7_577 - 574 - 100) << 20) - five_percent);
    assert_eq!(kind.allocatable.get("ephemeral-storage"), 19 << 30);
    assert!(kind.allocatable.iter().all(|(_, amount)| amount > 0));
}

#[tokio::test(start_paused = true)]
async fn types_carry_their_labels() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let types = cloud.instance_types(&class, Timestamp::UNIX_EPOCH).unwrap();
    let label = |name: &str, key: &str| {
        let kind = types.iter().find(|kind| &*kind.name == name).unwrap();
        let requirement = kind.requirements.get(&format!("karpenter.k8s.aws/instance-{key}")).unwrap();
        requirement.values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
    };
    let expected = [
        ("m5.large", "family", "m5"),
        ("m5.large", "generation", "5"),
        ("m5.large", "memory", "8192"),
        ("m5.large", "network-bandwidth", "750"),
        ("m5.large", "ebs-bandwidth", "4750"),
        ("m5.large", "cpu-manufacturer", "intel"),
        ("m5.large", "cpu-sustained-clock-speed-mhz", "3100"),
        ("m5.large", "capability-flex", "false"),
        ("m5.large", "gpu-count", ""),
        ("g4dn.xlarge", "gpu-name", "t4"),
        ("g4dn.xlarge", "gpu-memory", "16384"),
        ("g4dn.xlarge", "local-nvme", "125"),
        ("inf2.xlarge", "accelerator-name", "inferentia2"),
        ("inf2.xlarge", "accelerator-manufacturer", "aws"),
        ("inf2.xlarge", "accelerator-count", "1"),
        ("inf2.xlarge", "tenancy", "dedicated,default"),
    ];
    for (name, key, value) in expected {
        assert_eq!(label(name, key), value, "{name} {key}");
    }
    let inf2 = types.iter().find(|kind| &*kind.name == "inf2.xlarge").unwrap();
    assert_eq!((inf2.capacity.get("aws.amazon.com/neuron"), inf2.capacity.get("aws.amazon.com/neuroncore")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn offerings_need_a_subnet_a_price_and_a_zone_that_has_the_type() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let types = cloud.instance_types(&class, Timestamp::UNIX_EPOCH).unwrap();
    let offered = |name: &str| {
        let kind = types.iter().find(|kind| &*kind.name == name).unwrap();
        assert_eq!(kind.offerings.len() % 4, 0, "every zone of the region is listed");
        let available = kind.offerings.iter().filter(|offering| offering.available);
        available.map(|o| format!("{} {} {}", o.zone, o.capacity_type, o.price)).collect::<Vec<_>>()
    };
    assert_eq!(
        offered("m5.large"),
        ["us-west-2a on-demand $0.096", "us-west-2a spot $0.040", "us-west-2b on-demand $0.096", "us-west-2b spot $0.035"]
    );
    // Once Spot prices are known, a zone without one has none.
    assert_eq!(offered("t3.medium"), ["us-west-2a on-demand $0.0416", "us-west-2b on-demand $0.0416", "us-west-2c on-demand $0.0416"]);
    assert_eq!(offered("p9.cheap"), [""; 0]);
    assert!(Arc::ptr_eq(&types, &cloud.instance_types(&class, Timestamp::UNIX_EPOCH).unwrap()), "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_reports_less_memory_is_believed() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let memory = |minutes: i64| {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let types = cloud.instance_types(&class, now).unwrap();
        let kind = types.iter().find(|kind| &*kind.name == "m5.large").unwrap();
        (kind.capacity.get("memory"), kind.allocatable.get("memory"))
    };
    let before = memory(0);
    let report = |image: &str, mebibytes: i64| cloud.observe_memory(&class, "m5.large", image, mebibytes << 20, Timestamp::UNIX_EPOCH);
    assert!(!report("ami-of-yesterday", 7_000), "another image has another kernel");
    let amis = &class.status.as_ref().unwrap().amis;
    let current: Vec<&str> = amis.iter().map(|ami| ami.id.as_str()).filter(|id| report(id, 7_500)).collect();
    assert_eq!(current.len(), 1, "one image is m5.large's");
    assert_eq!([7_600, 7_500].map(|mebibytes| report(current[0], mebibytes)), [false, false]);
    assert_eq!(memory(4), before, "types are worked out every five minutes");
    assert_eq!(memory(5), (7_500 << 20, (7_500 - 674) << 20));
}

#[tokio::test(start_paused = true)]
async fn status_is_resolved_in_upstreams_order() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let status = class.status.unwrap();
    let ids = |of: Vec<&str>| of.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(status.subnets.iter().map(|s| s.id.clone()).collect::<Vec<_>>(), ids(vec!["subnet-b", "subnet-c", "subnet-a", "subnet-a2"]));
    assert_eq!(status.security_groups.iter().map(|g| g.id.clone()).collect::<Vec<_>>(), ids(vec!["sg-1", "sg-2"]));
    assert_eq!(status.amis.iter().map(|a| a.id.clone()).collect::<Vec<_>>(), ids(vec!["ami-arm", "ami-neuron", "ami-nvidia", "ami-x86"]));
    let x86 = &status.amis[3].requirements;
    let keys: Vec<(&str, &str)> = x86.iter().map(|r| (r.key.as_str(), r.operator.as_str())).collect();
    assert_eq!(
        keys,
        [
            ("kubernetes.io/arch", "In"),
            ("karpenter.k8s.aws/instance-gpu-count", "DoesNotExist"),
            ("karpenter.k8s.aws/instance-accelerator-count", "DoesNotExist"),
        ]
    );
    assert_eq!(account.calls("GetParameter").len(), 5);
}

#[tokio::test(start_paused = true)]
async fn al2_has_no_alias_on_newer_clusters() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let mut class = class();
    class.spec.ami_selector_terms[0].alias = Some("al2@latest".to_owned());
    assert_eq!(cloud.resolve_amis(&class, "1.33").await.unwrap_err().code, "UnsupportedAlias");
    assert_eq!(cloud.resolve_amis(&class, "1.32").await.unwrap_err().code, "NoImages");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_does_not_exist_leaves_no_profiles_behind() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let missing =
        "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>The role with name x cannot be found.</Message></Error></ErrorResponse>";
    account.next("AddRoleToInstanceProfile", 404, missing);
    assert!(cloud.ensure_instance_profile(&class()).await.unwrap_err().is_role_not_found());
    let made = account.calls("CreateInstanceProfile").len();
    // Asked for the profile before it was made, and before it would be deleted.
    assert_eq!((made, account.calls("GetInstanceProfile").len()), (1, 2));
    cloud.ensure_instance_profile(&class()).await.unwrap_err();
    assert_eq!(account.calls("CreateInstanceProfile").len(), made, "the missing role is remembered");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let name = cloud.ensure_instance_profile(&class()).await.unwrap();
    assert_eq!(cloud.ensure_instance_profile(&class()).await.unwrap(), name, "though no status was written");
    let tags = &account.calls("CreateInstanceProfile").pop().unwrap().parameters;
    assert_eq!(tags["Path"], "/karpenter/us-west-2/workshop/11111111-2222-3333-4444-555555555555/");
    assert_eq!(tags["Tags.member.4.Key"], "topology.kubernetes.io/region");
}
