//! What Karpenter's controller is allowed in a lab: the permissions of its CloudFormation template, statement by statement.
//!
//! Source: A/website/content/en/v1.14/getting-started/getting-started-with-karpenter/cloudformation.yaml, whose names of policies and
//! statements are kept, so that a refusal can be compared with the template.

use serde_json::{Value, json};

/// Of whom and where the statements speak.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub region: &'a str,
    /// The account's twelve digits.
    pub account: &'a str,
    pub cluster: &'a str,
    pub node_role: &'a str,
    pub queue: Option<&'a str>,
}

impl Scope<'_> {
    fn ec2(self, kinds: &[&str]) -> Vec<String> {
        let arn = |kind: &&str| {
            // Nobody's account owns what everybody may use.
            let account = if matches!(*kind, "image" | "snapshot") { "" } else { "*" };
            format!("arn:aws:ec2:{}:{account}:{kind}/*", self.region)
        };
        kinds.iter().map(arn).collect()
    }

    fn iam(self, rest: &str) -> String {
        format!("arn:aws:iam::{}:{rest}", self.account)
    }

    fn regional(self, service: &str, rest: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{rest}", self.region, self.account)
    }

    /// Tags in whose name the template scopes everything.
    fn owned(self, of: &str) -> (String, Value) {
        (format!("aws:{of}Tag/kubernetes.io/cluster/{}", self.cluster), json!("owned"))
    }
}

/// The names of all statements.
pub fn sids() -> Vec<String> {
    let scope = Scope { region: "", account: "", cluster: "", node_role: "", queue: Some("") };
    let policies = karpenter(scope).into_iter();
    let sids = policies.flat_map(|(_, document)| document["Statement"].as_array().cloned().unwrap_or_default());
    sids.filter_map(|statement| statement["Sid"].as_str().map(str::to_owned)).collect()
}

/// Policies by the middle of their names (`KarpenterController…Policy-CLUSTER`).
pub fn karpenter(scope: Scope<'_>) -> Vec<(&'static str, Value)> {
    let mut policies = vec![
        ("NodeLifecycle", node_lifecycle(scope)),
        ("IAMIntegration", iam_integration(scope)),
        (
            "EKSIntegration",
            vec![json!({
                "Sid": "AllowAPIServerEndpointDiscovery", "Effect": "Allow", "Action": "eks:DescribeCluster",
                "Resource": scope.regional("eks", &format!("cluster/{}", scope.cluster)),
            })],
        ),
        (
            "ZonalShift",
            vec![json!({
                "Sid": "AllowZonalShiftStatusReadOnly", "Effect": "Allow", "Action": "arc-zonal-shift:GetManagedResource", "Resource": "*",
                "Condition": {"StringEquals": {
                    "arc-zonal-shift:ResourceIdentifier": scope.regional("eks", &format!("cluster/{}", scope.cluster)),
                }},
            })],
        ),
        ("ResourceDiscovery", resource_discovery(scope)),
    ];
    if let Some(queue) = scope.queue {
        policies.push((
            "Interruption",
            vec![json!({
                "Sid": "AllowInterruptionQueueActions", "Effect": "Allow", "Resource": scope.regional("sqs", queue),
                "Action": ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            })],
        ));
    }
    policies.into_iter().map(|(name, statements)| (name, json!({"Version": "2012-10-17", "Statement": statements}))).collect()
}

fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.into_iter().collect())
}

fn node_lifecycle(scope: Scope<'_>) -> Vec<Value> {
    let launches = json!(["ec2:RunInstances", "ec2:CreateFleet"]);
    let created = ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"];
    let cluster_tag = |of: &str| (format!("aws:{of}Tag/eks:eks-cluster-name"), json!(scope.cluster));
    let of_pool = |of: &str| json!({ format!("aws:{of}Tag/karpenter.sh/nodepool"): "*" });
    let on_resource = json!({"StringEquals": map([scope.owned("Resource")]), "StringLike": of_pool("Resource")});
    let on_request = json!({"StringEquals": map([scope.owned("Request"), cluster_tag("Request")]), "StringLike": of_pool("Request")});
    let creates = ("ec2:CreateAction".to_owned(), json!(["RunInstances", "CreateFleet", "CreateLaunchTemplate"]));
    vec![
        json!({
            "Sid": "AllowScopedEC2InstanceAccessActions", "Effect": "Allow", "Action": launches,
            "Resource": scope.ec2(&["image", "snapshot", "security-group", "subnet", "capacity-reservation", "placement-group"]),
        }),
        json!({
            "Sid": "AllowScopedEC2LaunchTemplateAccessActions", "Effect": "Allow", "Action": launches,
            "Resource": scope.ec2(&["launch-template"]), "Condition": on_resource,
        }),
        json!({
            "Sid": "AllowScopedEC2InstanceActionsWithTags", "Effect": "Allow", "Resource": scope.ec2(&created),
            "Action": ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"], "Condition": on_request,
        }),
        json!({
            "Sid": "AllowScopedResourceCreationTagging", "Effect": "Allow", "Resource": scope.ec2(&created), "Action": "ec2:CreateTags",
            "Condition": {
                "StringEquals": map([scope.owned("Request"), cluster_tag("Request"), creates]), "StringLike": of_pool("Request"),
            },
        }),
        json!({
            "Sid": "AllowScopedResourceTagging", "Effect": "Allow", "Resource": scope.ec2(&["instance"]), "Action": "ec2:CreateTags",
            "Condition": {
                "StringEquals": map([scope.owned("Resource")]), "StringLike": of_pool("Resource"),
                "StringEqualsIfExists": map([cluster_tag("Request")]),
                "ForAllValues:StringEquals": {"aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]},
            },
        }),
        json!({
            "Sid": "AllowScopedDeletion", "Effect": "Allow", "Resource": scope.ec2(&["instance", "launch-template"]),
            "Action": ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"], "Condition": on_resource,
        }),
    ]
}

fn iam_integration(scope: Scope<'_>) -> Vec<Value> {
    let profiles = scope.iam("instance-profile/*");
    let region = |of: &str| (format!("aws:{of}Tag/topology.kubernetes.io/region"), json!(scope.region));
    let cluster = || ("aws:RequestTag/eks:eks-cluster-name".to_owned(), json!(scope.cluster));
    let class = |of: &str| (format!("aws:{of}Tag/karpenter.k8s.aws/ec2nodeclass"), json!("*"));
    vec![
        json!({
            "Sid": "AllowPassingInstanceRole", "Effect": "Allow", "Action": "iam:PassRole",
            "Resource": scope.iam(&format!("role/{}", scope.node_role)),
            "Condition": {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        }),
        json!({
            "Sid": "AllowScopedInstanceProfileCreationActions", "Effect": "Allow", "Action": "iam:CreateInstanceProfile", "Resource": profiles,
            "Condition": {"StringEquals": map([scope.owned("Request"), cluster(), region("Request")]), "StringLike": map([class("Request")])},
        }),
        json!({
            "Sid": "AllowScopedInstanceProfileTagActions", "Effect": "Allow", "Action": "iam:TagInstanceProfile", "Resource": profiles,
            "Condition": {
                "StringEquals": map([scope.owned("Resource"), region("Resource"), scope.owned("Request"), cluster(), region("Request")]),
                "StringLike": map([class("Resource"), class("Request")]),
            },
        }),
        json!({
            "Sid": "AllowScopedInstanceProfileActions", "Effect": "Allow", "Resource": profiles,
            "Action": ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"],
            "Condition": {"StringEquals": map([scope.owned("Resource"), region("Resource")]), "StringLike": map([class("Resource")])},
        }),
    ]
}

fn resource_discovery(scope: Scope<'_>) -> Vec<Value> {
    let kinds = [
        "CapacityReservations",
        "Images",
        "Instances",
        "InstanceStatus",
        "InstanceTypeOfferings",
        "InstanceTypes",
        "LaunchTemplates",
        "PlacementGroups",
        "SecurityGroups",
        "SpotPriceHistory",
        "Subnets",
    ];
    let describes: Vec<String> = kinds.iter().map(|kind| format!("ec2:Describe{kind}")).collect();
    vec![
        json!({
            "Sid": "AllowRegionalReadActions", "Effect": "Allow", "Resource": "*", "Action": describes,
            "Condition": {"StringEquals": {"aws:RequestedRegion": scope.region}},
        }),
        json!({
            "Sid": "AllowSSMReadActions", "Effect": "Allow", "Action": "ssm:GetParameter",
            "Resource": format!("arn:aws:ssm:{}::parameter/aws/service/*", scope.region),
        }),
        json!({"Sid": "AllowPricingReadActions", "Effect": "Allow", "Resource": "*", "Action": "pricing:GetProducts"}),
        json!({"Sid": "AllowUnscopedInstanceProfileListAction", "Effect": "Allow", "Resource": "*", "Action": "iam:ListInstanceProfiles"}),
        json!({
            "Sid": "AllowInstanceProfileReadActions", "Effect": "Allow", "Action": "iam:GetInstanceProfile",
            "Resource": scope.iam("instance-profile/*"),
        }),
    ]
}
