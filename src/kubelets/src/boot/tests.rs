use std::collections::BTreeSet;

use rstest::rstest;

use super::*;
use crate::machine::tests::machine;
use crate::profile::Cluster;

const HEAD: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n";
const CLUSTER: &str = "cluster: { name: lab, apiServerEndpoint: https://lab.example, certificateAuthority: Y2E=, cidr: 10.100.0.0/16 }";

fn archive(parts: &[(&str, &str)]) -> String {
    let parts: String = parts.iter().map(|(kind, body)| format!("--//\nContent-Type: {kind}\n\n{body}\n")).collect();
    format!("{HEAD}{parts}--//--\n")
}

fn node_config(spec: &str) -> String {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("# Karpenter Generated NodeConfig\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n{indented}")
}

fn al2023(parts: &[&str]) -> String {
    let parts: Vec<(&str, &str)> = parts.iter().map(|part| ("application/node.eks.aws", *part)).collect();
    archive(&parts)
}

fn boots(family: ImageFamily, user_data: &str) -> Result<Bootstrap, String> {
    read(family, user_data.as_bytes()).map_err(|refusal| refusal.to_string())
}

fn taint(key: &str, value: &str, effect: &str) -> Taint {
    Taint { key: key.into(), value: value.into(), effect: effect.into() }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn al2023_as_karpenter_writes_it() {
    let kubelet = r#"kubelet:
  config:
    clusterDNS: [10.100.0.10]
    maxPods: 29
    kubeReserved: { memory: 100Mi }
    registerWithTaints:
    - effect: NoExecute
      key: karpenter.sh/unregistered
  flags:
  - --node-labels="karpenter.sh/capacity-type=on-demand,type=karpenter""#;
    let found = boots(ImageFamily::AmazonLinux2023, &al2023(&[&node_config(&format!("{CLUSTER}\n{kubelet}"))]));
    let expected = Bootstrap {
        cluster: "lab".into(),
        endpoint: "https://lab.example".into(),
        labels: labels(&[("karpenter.sh/capacity-type", "on-demand"), ("type", "karpenter")]),
        taints: vec![taint("karpenter.sh/unregistered", "", "NoExecute")],
        max_pods: Some(29),
        kube_reserved: labels(&[("memory", "100Mi")]),
        ..Default::default()
    };
    assert_eq!(found, Ok(expected));
}

#[test]
fn of_several_node_configs_later_ones_win_and_flags_add_up() {
    let first = node_config("kubelet:\n  config: { maxPods: 10, kubeReserved: { cpu: 1m, memory: 1Mi } }\n  flags: [--node-labels=a=1]");
    let last = node_config(&format!(
        "{CLUSTER}\nkubelet:\n  config: {{ maxPods: 20, kubeReserved: {{ cpu: 2m }} }}\n  flags: [--node-labels=b=2]"
    ));
    let shell = ("text/x-shellscript; charset=\"us-ascii\"", "#!/bin/sh\necho hello");
    let kind = "application/node.eks.aws";
    let found = boots(ImageFamily::AmazonLinux2023, &archive(&[shell, (kind, &first), (kind, &last)])).expect("it boots");
    assert_eq!(found.max_pods, Some(20));
    assert_eq!(found.kube_reserved, labels(&[("cpu", "2m"), ("memory", "1Mi")]));
    assert_eq!(found.labels, labels(&[("a", "1"), ("b", "2")]));
}

#[rstest]
#[case::empty("  \n", "user data is empty")]
#[case::no_config(&archive(&[("text/x-shellscript", "#!/bin/sh")]), "Could not find NodeConfig")]
#[case::not_yaml(&al2023(&["a: [b"]), "couldn't parse NodeConfig")]
#[case::another_kind(&al2023(&["apiVersion: v1\nkind: Pod"]), "no kind \"Pod\"")]
#[case::no_cluster(&al2023(&[&node_config("kubelet: {}")]), "Name is missing")]
#[case::no_cidr(&al2023(&[&node_config("cluster: { name: a, apiServerEndpoint: b, certificateAuthority: Yw== }")]), "CIDR is missing")]
#[case::no_end("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\n\nx", "ends without")]
#[case::bash("#!/bin/bash\n/etc/eks/bootstrap.sh lab", "nodeadm")]
#[case::bad_pods(&al2023(&[&node_config(&format!("{CLUSTER}\nkubelet: {{ config: {{ maxPods: many }} }}"))]), "maxPods")]
#[case::open_quote(&al2023(&[&node_config(&format!("{CLUSTER}\nkubelet: {{ flags: ['--node-labels=\"a=b'] }}"))]), "matching quote")]
fn al2023_refuses(#[case] user_data: &str, #[case] console: &str) {
    let refusal = boots(ImageFamily::AmazonLinux2023, user_data).expect_err("it does not boot");
    assert!(refusal.contains(console), "{refusal}");
}

const AL2: &str = r#"#!/bin/bash -xe
exec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1
/etc/eks/bootstrap.sh 'lab' --apiserver-endpoint 'https://lab.example' --b64-cluster-ca 'Y2E=' \
--dns-cluster-ip '10.100.0.10' \
--use-max-pods false \
--kubelet-extra-args '--node-labels="type=karpenter" --register-with-taints="karpenter.sh/unregistered:NoExecute,a=b:NoSchedule" --max-pods=58 --eviction-hard="memory.available<5%"'"#;

#[rstest]
#[case::archive(archive(&[("text/x-shellscript; charset=\"us-ascii\"", "#!/bin/bash\necho first"), ("text/x-shellscript", AL2)]))]
#[case::plain(AL2.to_owned())]
fn al2_as_karpenter_writes_it(#[case] user_data: String) {
    let expected = Bootstrap {
        cluster: "lab".into(),
        endpoint: "https://lab.example".into(),
        labels: labels(&[("type", "karpenter")]),
        taints: vec![taint("karpenter.sh/unregistered", "", "NoExecute"), taint("a", "b", "NoSchedule")],
        max_pods: Some(58),
        eviction_hard: labels(&[("memory.available", "5%")]),
        ..Default::default()
    };
    assert_eq!(boots(ImageFamily::AmazonLinux2, &user_data), Ok(expected));
}

#[rstest]
#[case::by_interfaces("", None)]
#[case::kubelets_default("--use-max-pods false", Some(110))]
fn al2_max_pods(#[case] arguments: &str, #[case] expected: Option<u32>) {
    let found = boots(ImageFamily::AmazonLinux2, &format!("#!/bin/sh\n/etc/eks/bootstrap.sh lab {arguments}\n"));
    assert_eq!(found.map(|bootstrap| bootstrap.max_pods), Ok(expected));
}

#[rstest]
#[case::no_call("#!/bin/sh\necho hello", "does not call")]
#[case::commented("#!/bin/sh\n# /etc/eks/bootstrap.sh lab", "does not call")]
#[case::no_name("#!/bin/sh\n/etc/eks/bootstrap.sh --use-max-pods false", "CLUSTER_NAME")]
#[case::unknown_flag("#!/bin/sh\n/etc/eks/bootstrap.sh lab --max-pods 3", "Unknown flag --max-pods")]
#[case::bad_taint("#!/bin/sh\n/etc/eks/bootstrap.sh lab --kubelet-extra-args '--register-with-taints=a:Sometimes'", "invalid argument")]
fn al2_refuses(#[case] user_data: &str, #[case] console: &str) {
    let refusal = boots(ImageFamily::AmazonLinux2, user_data).expect_err("it does not boot");
    assert!(refusal.contains(console), "{refusal}");
}

const BOTTLEROCKET: &str = r#"[settings.kubernetes]
api-server = 'https://lab.example'
cluster-certificate = 'Y2E='
cluster-name = 'lab'
max-pods = 29
[settings.kubernetes.node-labels]
type = 'karpenter'
[settings.kubernetes.node-taints]
'karpenter.sh/unregistered' = [':NoExecute']
a = ['b:NoSchedule', 'c:NoExecute']
[settings.bootstrap-commands.000-mount-instance-storage]
commands = [['apiclient', 'ephemeral-storage', 'init'], ['apiclient', 'ephemeral-storage', 'bind']]
essential = true
mode = 'always'
"#;

#[test]
fn bottlerocket_as_karpenter_writes_it() {
    let mut found = boots(ImageFamily::Bottlerocket, BOTTLEROCKET).expect("it boots");
    found.taints.sort();
    let expected = Bootstrap {
        cluster: "lab".into(),
        endpoint: "https://lab.example".into(),
        labels: labels(&[("type", "karpenter")]),
        taints: vec![taint("a", "b", "NoSchedule"), taint("a", "c", "NoExecute"), taint("karpenter.sh/unregistered", "", "NoExecute")],
        max_pods: Some(29),
        local_disks: true,
        reserves_by_max_pods: true,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[rstest]
#[case::not_toml("[settings", "parse")]
#[case::no_settings("a = 1", "no [settings]")]
#[case::no_endpoint("[settings.kubernetes]\ncluster-name = 'a'\ncluster-certificate = 'b'", "api-server is not set")]
#[case::bad_pods(&BOTTLEROCKET.replace("29", "'many'"), "max-pods")]
#[case::bad_taint(&BOTTLEROCKET.replace("b:NoSchedule", "b"), "node-taints")]
fn bottlerocket_refuses(#[case] user_data: &str, #[case] console: &str) {
    let refusal = boots(ImageFamily::Bottlerocket, user_data).expect_err("it does not boot");
    assert!(refusal.contains(console), "{refusal}");
}

#[test]
fn somebodys_own_image_is_read_as_what_it_looks_like() {
    assert_eq!(boots(ImageFamily::Custom, &al2023(&[&node_config(CLUSTER)])).map(|it| it.cluster), Ok("lab".into()));
    assert_eq!(boots(ImageFamily::Custom, AL2).map(|it| it.cluster), Ok("lab".into()));
}

#[rstest]
#[case::joins(|_: &mut Machine, _: &mut Profile| (), "")]
#[case::endpoint(|_: &mut Machine, profile: &mut Profile| profile.cluster.as_mut().expect("set").endpoint = "https://x".into(), "no such host")]
#[case::name(|_: &mut Machine, profile: &mut Profile| profile.cluster.as_mut().expect("set").name = "x".into(), "Unauthorized")]
#[case::no_role(|machine: &mut Machine, _: &mut Profile| machine.role = None, "no instance profile")]
#[case::unmapped_role(|_: &mut Machine, profile: &mut Profile| profile.roles = Some(BTreeSet::new()), "no access entry")]
#[case::labels(
    |machine: &mut Machine, _: &mut Profile| {
        let flags = "kubelet: { flags: [--node-labels=node-role.kubernetes.io/infra=] }";
        machine.user_data = al2023(&[&node_config(&format!("{CLUSTER}\n{flags}"))]).into_bytes();
    },
    "unknown 'kubernetes.io'"
)]
#[case::not_text(|machine: &mut Machine, _: &mut Profile| machine.user_data = vec![0xff, 0x1f], "not UTF-8")]
fn what_keeps_a_machine_out(#[case] change: fn(&mut Machine, &mut Profile), #[case] console: &str) {
    let (mut machine, mut profile) = (machine("i-1"), Profile::default());
    machine.user_data = al2023(&[&node_config(CLUSTER)]).into_bytes();
    profile.cluster = Some(Cluster { name: "lab".into(), endpoint: "https://lab.example/".into() });
    change(&mut machine, &mut profile);
    let refusal = boot(&machine, &profile).err().map(|refusal| refusal.to_string()).unwrap_or_default();
    assert!(refusal.contains(console) && refusal.is_empty() == console.is_empty(), "{refusal}");
}

proptest::proptest! {
    #[test]
    fn no_user_data_makes_a_machine_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), cut in 0usize..900) {
        let samples = [al2023(&[&node_config(CLUSTER)]), AL2.to_owned(), BOTTLEROCKET.to_owned()];
        for sample in samples {
            let mut mutated: Vec<u8> = sample.bytes().take(cut).collect();
            mutated.extend(&bytes);
            for family in [ImageFamily::AmazonLinux2023, ImageFamily::AmazonLinux2, ImageFamily::Bottlerocket, ImageFamily::Custom] {
                let _ = read(family, &mutated);
            }
        }
    }
}
