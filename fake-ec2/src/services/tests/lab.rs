//! The lab, and EKS by itself.

use serde_json::{Value, json};

use super::{Desk, code, failed, filter, texts};
use crate::model::Service;
use crate::state::{EksLab, Settings};

#[test]
fn a_lab_is_what_karpenter_discovers() {
    let mut desk = Desk::new();
    let mut spec = EksLab::new("eks-workshop", "1.36");
    spec.endpoint = Some("https://127.0.0.1:6443".into());
    spec.certificate_authority = Some("Q0E=".into());
    spec.free_addresses = Some(200);
    let lab = desk.state.furnish_eks(desk.now, &spec).expect("a lab");
    let by_tag = json!({"Filters": filter("tag:karpenter.sh/discovery", &["eks-workshop"]), "MaxResults": 500});
    let subnets = desk.ec2("DescribeSubnets", by_tag.clone()).expect("subnets");
    let mut zones = texts(&subnets["Subnets"], "AvailabilityZone");
    zones.sort();
    assert_eq!(zones, ["us-west-2a", "us-west-2b", "us-west-2c"]);
    assert!(subnets["Subnets"].as_array().expect("a list").iter().all(|subnet| subnet["AvailableIpAddressCount"] == 200));
    let groups = desk.ec2("DescribeSecurityGroups", by_tag).expect("groups");
    assert_eq!(texts(&groups["SecurityGroups"], "GroupId"), [lab.security_group_id]);
    let cluster = desk.ask(Service::Eks, "DescribeCluster", json!({"name": "eks-workshop"})).expect("a cluster")["cluster"].clone();
    assert_eq!((&cluster["status"], &cluster["endpoint"]), (&json!("ACTIVE"), &json!("https://127.0.0.1:6443")));
    assert_eq!(cluster["certificateAuthority"]["data"], "Q0E=");
    assert_eq!(cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"], "10.100.0.0/16");
    assert_eq!(desk.state.unsettled(), Vec::<String>::new());
    let role = desk.ask(Service::Iam, "GetRole", json!({"RoleName": "KarpenterNodeRole-eks-workshop"})).expect("a role");
    assert_eq!(role["Role"]["Arn"], json!(lab.node_role_arn));
    assert_eq!(code(&desk.state.furnish_eks(desk.now, &spec).map(|_| Value::Null)), "EntityAlreadyExists");
}

#[test]
fn a_cluster_takes_its_time() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let role = desk.ask(Service::Iam, "GetRole", json!({"RoleName": "lab-cluster"})).expect("a role")["Role"]["Arn"].clone();
    let input = json!({"name": "second", "roleArn": role, "resourcesVpcConfig": {"subnetIds": lab.subnet_ids}});
    let made = desk.ask(Service::Eks, "CreateCluster", input.clone()).expect("a cluster");
    assert_eq!((&made["cluster"]["status"], &made["cluster"]["version"]), (&json!("CREATING"), &json!("1.36")));
    let again = failed(desk.ask(Service::Eks, "CreateCluster", input));
    assert_eq!((again.code.as_str(), again.status), ("ResourceInUseException", 409));
    assert_eq!(desk.state.unsettled().len(), 1);
    desk.pass(10);
    let found = desk.ask(Service::Eks, "DescribeCluster", json!({"name": "second"})).expect("a cluster");
    assert_eq!(found["cluster"]["status"], "ACTIVE");
    assert_eq!(desk.ask(Service::Eks, "ListClusters", json!({})).expect("clusters")["clusters"], json!(["lab", "second"]));
    let deleted = desk.ask(Service::Eks, "DeleteCluster", json!({"name": "second"})).expect("deleted");
    assert_eq!(deleted["cluster"]["status"], "DELETING");
    let gone = failed(desk.ask(Service::Eks, "DescribeCluster", json!({"name": "second"})));
    assert_eq!((gone.code.as_str(), gone.status), ("ResourceNotFoundException", 404));
}

#[test]
fn a_wrong_cluster_is_refused() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let role = desk.ask(Service::Iam, "GetRole", json!({"RoleName": "lab-cluster"})).expect("a role")["Role"]["Arn"].clone();
    let good = json!({"name": "new", "roleArn": role, "resourcesVpcConfig": {"subnetIds": lab.subnet_ids}});
    for (member, value) in [
        ("version", json!("1.12")),
        ("roleArn", json!("arn:aws:iam::123456789012:role/absent")),
        ("resourcesVpcConfig", json!({"subnetIds": [lab.subnet_ids[0]]})),
        ("name", json!("a b")),
    ] {
        let mut input = good.clone();
        input[member] = value;
        assert_eq!(code(&desk.ask(Service::Eks, "CreateCluster", input)), "InvalidParameterException", "{member}");
    }
}

#[test]
fn zonal_shift_is_of_clusters_that_take_part() {
    let (mut desk, lab) = Desk::furnished(Settings::default());
    let ask = |desk: &mut Desk, arn: &str| desk.ask(Service::ArcZonalShift, "GetManagedResource", json!({"resourceIdentifier": arn}));
    assert_eq!(code(&ask(&mut desk, &lab.cluster_arn)), "ResourceNotFoundException");
    let role = desk.ask(Service::Iam, "GetRole", json!({"RoleName": "lab-cluster"})).expect("a role")["Role"]["Arn"].clone();
    let input = json!({"name": "shifty", "roleArn": role, "resourcesVpcConfig": {"subnetIds": lab.subnet_ids}, "zonalShiftConfig": {"enabled": true}});
    let arn = desk.ask(Service::Eks, "CreateCluster", input).expect("a cluster")["cluster"]["arn"].as_str().expect("an ARN").to_owned();
    let found = ask(&mut desk, &arn).expect("a resource");
    assert_eq!((&found["zonalShifts"], &found["appliedWeights"]["usw2-az1"]), (&json!([]), &json!(1.0)));
}
