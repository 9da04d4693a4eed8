//! An EKS lab in one call, made by the operations that a client would call.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::State;
use super::lab_policies::{self, Scope};
use crate::model::Service;
use crate::protocol::{AwsError, Call, Caller};
use crate::services;
use crate::services::input::Read;

/// What a lab is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EksLab {
    /// The cluster's name; also the value of the discovery tags.
    pub name: String,
    /// `1.36`
    pub version: String,
    /// The API server's URL; `None` means EKS's form of one.
    pub endpoint: Option<String>,
    /// Base64 of the authority's PEM.
    pub certificate_authority: Option<String>,
    /// Zones of the subnets by name; empty means the first three.
    pub zones: Vec<String>,
    /// Free addresses of each subnet; `None` means all of a /19.
    pub free_addresses: Option<u32>,
    /// The role of the nodes.
    pub node_role: String,
    /// A role of this name with Karpenter's own permissions, for the controller; `None` makes none.
    pub controller_role: Option<String>,
    /// Statements, by their Sid, that the role does not have.
    pub controller_lacks: Vec<String>,
    /// A queue of this name, with EventBridge rules that lead to it, as Karpenter's CloudFormation template has them.
    pub interruption_queue: Option<String>,
    /// Tag key that subnets and the security group carry, with the cluster's name as its value.
    pub discovery_tag: String,
}

impl EksLab {
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            endpoint: None,
            certificate_authority: None,
            zones: Vec::new(),
            free_addresses: None,
            node_role: format!("KarpenterNodeRole-{name}"),
            controller_role: None,
            controller_lacks: Vec::new(),
            interruption_queue: None,
            discovery_tag: "karpenter.sh/discovery".into(),
        }
    }
}

/// What a lab has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    pub cluster_arn: String,
    pub vpc_id: String,
    /// In the order of the zones.
    pub subnet_ids: Vec<String>,
    /// The group with the discovery tag.
    pub security_group_id: String,
    pub cluster_security_group_id: String,
    pub node_role_arn: String,
    pub queue_url: Option<String>,
}

/// Rules of Karpenter's template: name and pattern (website/content/en/preview/getting-started/…/cloudformation.yaml).
const INTERRUPTION_RULES: [(&str, &str, &str); 5] = [
    ("ScheduledChangeRule", "aws.health", "AWS Health Event"),
    ("SpotInterruptionRule", "aws.ec2", "EC2 Spot Instance Interruption Warning"),
    ("RebalanceRule", "aws.ec2", "EC2 Instance Rebalance Recommendation"),
    ("InstanceStateChangeRule", "aws.ec2", "EC2 Instance State-change Notification"),
    ("CapacityReservationInterruptionRule", "aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
];

/// Managed policies of a node role in the same template.
const NODE_POLICIES: [&str; 4] =
    ["AmazonEKS_CNI_Policy", "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonSSMManagedInstanceCore"];

impl State {
    /// Does one operation as the account's root, past faults, buckets and latencies.
    pub fn ask(&mut self, now: Timestamp, service: Service, operation: &'static str, input: Value) -> services::Answer {
        let account = self.account.id.clone();
        let call = Call {
            service,
            operation,
            region: self.account.home.clone(),
            caller: Caller { access_key: None, principal: format!("arn:aws:iam::{account}:root"), user_id: account.clone(), account },
            request_id: String::new(),
            input: input.as_object().cloned().unwrap_or_default(),
            unknown: Vec::new(),
            short_pages: None,
        };
        services::perform(self, now, &call)
    }

    /// Furnishes an EKS lab in the home region: VPC, tagged subnets and security group, roles, an active cluster, queue and rules.
    pub fn furnish_eks(&mut self, now: Timestamp, lab: &EksLab) -> Result<Lab, AwsError> {
        let (vpc_id, subnet_ids, security_group_id) = self.furnish_network(now, lab)?;
        let cluster_role = self.furnish_role(now, &format!("{}-cluster", lab.name), "eks.amazonaws.com", &["AmazonEKSClusterPolicy"])?;
        let node_role_arn = self.furnish_role(now, &lab.node_role, "ec2.amazonaws.com", &NODE_POLICIES)?;
        let input = json!({
            "name": lab.name, "version": lab.version, "roleArn": cluster_role,
            "resourcesVpcConfig": {"subnetIds": subnet_ids, "securityGroupIds": []},
            "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"},
        });
        let answer = self.ask(now, Service::Eks, "CreateCluster", input)?;
        let cluster_arn = answer.pointer("/cluster/arn").and_then(Value::as_str).unwrap_or_default().to_owned();
        let group = answer.pointer("/cluster/resourcesVpcConfig/clusterSecurityGroupId").and_then(Value::as_str);
        let cluster_security_group_id = group.unwrap_or_default().to_owned();
        self.set_cluster_endpoint(&lab.name, lab.endpoint.as_deref(), lab.certificate_authority.as_deref());
        if let Some(role) = &lab.controller_role {
            self.furnish_controller(now, lab, role)?;
        }
        let queue_url = match &lab.interruption_queue {
            Some(queue) => Some(self.furnish_queue(now, &lab.name, queue)?),
            None => None,
        };
        Ok(Lab { cluster_arn, vpc_id, subnet_ids, security_group_id, cluster_security_group_id, node_role_arn, queue_url })
    }

    /// Points a cluster of the home region to the control plane that is really there, and ends its creation; false if there is none.
    pub fn set_cluster_endpoint(&mut self, name: &str, endpoint: Option<&str>, certificate_authority: Option<&str>) -> bool {
        let home = self.account.home.clone();
        let Some(region) = self.regions.get_mut(&home) else { return false };
        let Some(cluster) = region.clusters.get_mut(name) else { return false };
        cluster.active = true;
        if let Some(endpoint) = endpoint {
            cluster.endpoint = endpoint.to_owned();
        }
        if let Some(authority) = certificate_authority {
            cluster.certificate_authority = authority.to_owned();
        }
        self.account.agenda.forget_cluster(name);
        true
    }

    /// Makes a cluster of the home region a resource that ARC manages; false if there is none.
    pub fn enable_zonal_shift(&mut self, name: &str) -> bool {
        let home = self.account.home.clone();
        let cluster = self.regions.get_mut(&home).and_then(|region| region.clusters.get_mut(name));
        cluster.map(|cluster| cluster.zonal_shift = true).is_some()
    }

    /// eksctl's layout: 192.168.0.0/16 with a /19 per zone.
    fn furnish_network(&mut self, now: Timestamp, lab: &EksLab) -> Result<(String, Vec<String>, String), AwsError> {
        let tags = |kind: &str, name: String| json!([{"ResourceType": kind, "Tags": [{"Key": lab.discovery_tag, "Value": lab.name}, {"Key": "Name", "Value": name}]}]);
        let named = json!([{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": format!("{}/VPC", lab.name)}]}]);
        let vpc = self.ask(now, Service::Ec2, "CreateVpc", json!({"CidrBlock": "192.168.0.0/16", "TagSpecifications": named}))?;
        let vpc_id = vpc.pointer("/Vpc/VpcId").and_then(Value::as_str).unwrap_or_default().to_owned();
        let zones = if lab.zones.is_empty() {
            let known = self.regions.get(&self.account.home).map(|region| region.zones.clone()).unwrap_or_default();
            known.iter().take(3).map(|zone| zone.name.to_owned()).collect()
        } else {
            lab.zones.clone()
        };
        let mut subnet_ids = Vec::new();
        for (at, zone) in (0u8..8).zip(&zones) {
            let input = json!({
                "VpcId": vpc_id, "CidrBlock": format!("192.168.{}.0/19", at * 32), "AvailabilityZone": zone,
                "TagSpecifications": tags("subnet", format!("{}/SubnetPrivate-{zone}", lab.name)),
            });
            let subnet = self.ask(now, Service::Ec2, "CreateSubnet", input)?;
            let id = subnet.pointer("/Subnet/SubnetId").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(free) = lab.free_addresses {
                self.set_free_addresses(&id, free);
            }
            subnet_ids.push(id);
        }
        let input = json!({
            "GroupName": format!("{}-node", lab.name), "Description": "Nodes of the cluster", "VpcId": vpc_id,
            "TagSpecifications": tags("security-group", format!("{}-node", lab.name)),
        });
        let group = self.ask(now, Service::Ec2, "CreateSecurityGroup", input)?;
        Ok((vpc_id, subnet_ids, group.text("GroupId").unwrap_or_default().to_owned()))
    }

    fn furnish_role(&mut self, now: Timestamp, name: &str, service: &str, policies: &[&str]) -> Result<String, AwsError> {
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"},
        ]});
        let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
        let role = self.ask(now, Service::Iam, "CreateRole", input)?;
        for policy in policies {
            let input = json!({"RoleName": name, "PolicyArn": format!("arn:aws:iam::aws:policy/{policy}")});
            self.ask(now, Service::Iam, "AttachRolePolicy", input)?;
        }
        Ok(role.pointer("/Role/Arn").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The controller's role, with the policies of Karpenter's template as managed policies of the account.
    fn furnish_controller(&mut self, now: Timestamp, lab: &EksLab, role: &str) -> Result<(), AwsError> {
        self.furnish_role(now, role, "pods.eks.amazonaws.com", &[])?;
        let (region, account) = (self.account.home.clone(), self.account.id.clone());
        let queue = lab.interruption_queue.as_deref();
        let scope = Scope { region: &region, account: &account, cluster: &lab.name, node_role: &lab.node_role, queue };
        for (name, mut document) in lab_policies::karpenter(scope) {
            if let Some(statements) = document["Statement"].as_array_mut() {
                statements.retain(|statement| !lab.controller_lacks.iter().any(|lacks| statement["Sid"] == lacks.as_str()));
                if statements.is_empty() {
                    continue;
                }
            }
            let name = format!("KarpenterController{name}Policy-{}", lab.name);
            let policy =
                self.ask(now, Service::Iam, "CreatePolicy", json!({"PolicyName": name, "PolicyDocument": document.to_string()}))?;
            let arn = policy.pointer("/Policy/Arn").and_then(Value::as_str).unwrap_or_default();
            self.ask(now, Service::Iam, "AttachRolePolicy", json!({"RoleName": role, "PolicyArn": arn}))?;
        }
        Ok(())
    }

    fn furnish_queue(&mut self, now: Timestamp, cluster: &str, queue: &str) -> Result<String, AwsError> {
        let arn = self.account.arn("sqs", &self.account.home, queue);
        // The template's KarpenterInterruptionQueuePolicy.
        let policy = json!({"Id": "EC2InterruptionPolicy", "Version": "2008-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]}, "Action": "sqs:SendMessage", "Resource": arn},
            {"Sid": "DenyHTTP", "Effect": "Deny", "Action": "sqs:*", "Resource": arn,
             "Condition": {"Bool": {"aws:SecureTransport": false}}, "Principal": "*"},
        ]});
        let attributes = json!({"MessageRetentionPeriod": "300", "SqsManagedSseEnabled": "true", "Policy": policy.to_string()});
        let made = self.ask(now, Service::Sqs, "CreateQueue", json!({"QueueName": queue, "Attributes": attributes}))?;
        for (rule, source, kind) in INTERRUPTION_RULES {
            let name = format!("{cluster}-{rule}");
            let pattern = json!({"source": [source], "detail-type": [kind]}).to_string();
            self.ask(now, Service::Events, "PutRule", json!({"Name": name, "EventPattern": pattern}))?;
            let target = json!({"Id": "KarpenterInterruptionQueueTarget", "Arn": arn});
            self.ask(now, Service::Events, "PutTargets", json!({"Rule": name, "Targets": [target]}))?;
        }
        Ok(made.text("QueueUrl").unwrap_or_default().to_owned())
    }
}
