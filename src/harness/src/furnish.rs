//! What every cluster has before a story begins: Karpenter's definitions, DNS, the add-ons' DaemonSets, a managed node group.

use crate::objects::Objects;
use crate::pump::{Line, Request};
use crate::scenario::{Given, Manifest, NodeGroup};
use crate::world::WorldError;
use crate::yaml;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// The cluster DNS service's address on EKS with the default service range.
pub const CLUSTER_DNS: &str = "10.100.0.10";
pub const SERVICE_CIDR: &str = "10.100.0.0/16";

fn built_in(name: &str, text: &str) -> Manifest {
    let objects =
        yaml::documents(text).expect("built-in manifests are YAML").into_iter().map(|node| (node.clone(), node.to_json())).collect();
    Manifest { path: PathBuf::from(name), source: Arc::from(text), objects }
}

/// Definitions of `karpenter.sh` and `karpenter.k8s.aws`.
pub async fn definitions(objects: &mut Objects) -> Result<(), WorldError> {
    for crd in api::crds::all() {
        objects.apply_value(&crd).await.map_err(|error| WorldError::Kubernetes(format!("install {}: {error}", crd["metadata"]["name"])))?;
    }
    Ok(())
}

/// DNS and DaemonSets.
pub async fn add_ons(objects: &mut Objects, given: &Given) -> Result<(), WorldError> {
    let mut manifests = vec![built_in("coredns.yaml", include_str!("../manifests/coredns.yaml"))];
    if given.daemonsets == crate::scenario::Daemonsets::EksDefaults {
        manifests.push(built_in("eks-defaults.yaml", include_str!("../manifests/eks-defaults.yaml")));
    }
    for manifest in manifests {
        objects.apply(&manifest).await.map_err(|error| WorldError::Kubernetes(format!("add-ons: {error}")))?;
    }
    Ok(())
}

/// A managed node group: instances of the recommended AL2023 image, started as EKS does it, with its own user data.
pub async fn node_group(
    aws: &Line<fake_ec2::Cloud>,
    given: &Given,
    group: &NodeGroup,
    endpoint: &str,
    authority: &str,
) -> Result<(), WorldError> {
    if group.count == 0 {
        return Ok(());
    }
    let parameter =
        format!("/aws/service/eks/optimized-ami/{}/amazon-linux-2023/x86_64/standard/recommended/image_id", given.kubernetes.version);
    let found = json_call(aws, "AmazonSSM.GetParameter", "ssm", &given.aws.region, json!({"Name": parameter})).await?;
    let image = found["Parameter"]["Value"].as_str().unwrap_or_default().to_owned();
    let subnets = query(
        aws,
        "ec2",
        &given.aws.region,
        &[
            ("Action", "DescribeSubnets"),
            ("Version", "2016-11-15"),
            ("Filter.1.Name", "tag:karpenter.sh/discovery"),
            ("Filter.1.Value.1", &given.aws.cluster),
        ],
    )
    .await?;
    let subnets: Vec<&str> = subnets.split("<subnetId>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    if subnets.is_empty() {
        return Err(WorldError::Cloud("the cluster has no subnets".to_owned()));
    }
    let labels: String = group.labels.iter().map(|(key, value)| format!(",{key}={value}")).collect();
    let taints: Vec<Value> = group.taint.iter().filter_map(|text| taint(text)).collect();
    let config = json!({
        "apiVersion": "node.eks.aws/v1alpha1",
        "kind": "NodeConfig",
        "spec": {
            "cluster": {"name": given.aws.cluster, "apiServerEndpoint": endpoint, "certificateAuthority": authority, "cidr": SERVICE_CIDR},
            "kubelet": {
                "config": {"clusterDNS": [CLUSTER_DNS], "registerWithTaints": taints},
                "flags": [format!("--node-labels=eks.amazonaws.com/nodegroup={},eks.amazonaws.com/capacityType=ON_DEMAND{labels}", group.name)],
            },
        },
    });
    let user_data = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\nContent-Type: application/node.eks.aws\n\n{config}\n--//--\n"
    );
    let user_data = base64::engine::general_purpose::STANDARD.encode(user_data);
    // EKS makes a profile of its own for the node role; without a role no machine may join.
    let profile = format!("eks-{}-{}", given.aws.cluster, group.name);
    query(
        aws,
        "iam",
        &given.aws.region,
        &[("Action", "CreateInstanceProfile"), ("Version", "2010-05-08"), ("InstanceProfileName", &profile)],
    )
    .await?;
    let role = [
        ("Action", "AddRoleToInstanceProfile"),
        ("Version", "2010-05-08"),
        ("InstanceProfileName", &profile),
        ("RoleName", &given.aws.node_role),
    ];
    query(aws, "iam", &given.aws.region, &role).await?;
    for index in 0..group.count {
        let subnet = subnets[usize::try_from(index).unwrap_or(0) % subnets.len()];
        let owned = format!("kubernetes.io/cluster/{}", given.aws.cluster);
        query(
            aws,
            "ec2",
            &given.aws.region,
            &[
                ("Action", "RunInstances"),
                ("Version", "2016-11-15"),
                ("ImageId", &image),
                ("InstanceType", &group.instance_type),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("SubnetId", subnet),
                ("UserData", &user_data),
                ("IamInstanceProfile.Name", &profile),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "eks:nodegroup-name"),
                ("TagSpecification.1.Tag.1.Value", &group.name),
                ("TagSpecification.1.Tag.2.Key", &owned),
                ("TagSpecification.1.Tag.2.Value", "owned"),
            ],
        )
        .await?;
    }
    Ok(())
}

/// The endpoint of a cluster, as EKS tells it.
pub async fn describe_cluster(aws: &Line<fake_ec2::Cloud>, region: &str, cluster: &str) -> Result<String, WorldError> {
    let mut asked = request("eks", region, "application/json", None, String::new());
    *asked.method_mut() = http::Method::GET;
    *asked.uri_mut() =
        format!("/clusters/{cluster}").parse().map_err(|error| WorldError::Cloud(format!("cluster {cluster:?}: {error}")))?;
    let text = send(aws, "DescribeCluster", asked).await?;
    let reply: Value = serde_json::from_str(&text).map_err(|error| WorldError::Cloud(format!("DescribeCluster: {error}")))?;
    Ok(reply["cluster"]["endpoint"].as_str().unwrap_or_default().to_owned())
}

/// `key=value:Effect` as the kubelet's configuration has it.
fn taint(text: &str) -> Option<Value> {
    let (left, effect) = text.rsplit_once(':')?;
    let (key, value) = left.split_once('=').unwrap_or((left, ""));
    Some(json!({"key": key, "value": value, "effect": effect}))
}

fn request(service: &str, region: &str, content_type: &str, target: Option<&str>, body: String) -> Request {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDRYFITHARNESS0000/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=00"
    );
    let mut builder = http::Request::post("/")
        .header("host", format!("{service}.{region}.amazonaws.com"))
        .header("content-type", content_type)
        .header("authorization", scope);
    if let Some(target) = target {
        builder = builder.header("x-amz-target", target);
    }
    builder.body(Bytes::from(body)).expect("header values of the harness are ASCII")
}

async fn send(aws: &Line<fake_ec2::Cloud>, what: &str, request: Request) -> Result<String, WorldError> {
    let reply = aws.call(request).await.map_err(|error| WorldError::Cloud(error.to_string()))?;
    let status = reply.status();
    let body = match reply.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(WorldError::Cloud(format!("{what}: {text}"))) }
}

async fn query(aws: &Line<fake_ec2::Cloud>, service: &str, region: &str, parameters: &[(&str, &str)]) -> Result<String, WorldError> {
    let body = form(parameters);
    send(aws, parameters[0].1, request(service, region, "application/x-www-form-urlencoded; charset=utf-8", None, body)).await
}

async fn json_call(aws: &Line<fake_ec2::Cloud>, target: &str, service: &str, region: &str, input: Value) -> Result<Value, WorldError> {
    let text = send(aws, target, request(service, region, "application/x-amz-json-1.1", Some(target), input.to_string())).await?;
    serde_json::from_str(&text).map_err(|error| WorldError::Cloud(format!("{target}: {error}")))
}

fn form(parameters: &[(&str, &str)]) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    parameters
        .iter()
        .map(|(key, value)| format!("{}={}", utf8_percent_encode(key, PLAIN), utf8_percent_encode(value, PLAIN)))
        .collect::<Vec<_>>()
        .join("&")
}
