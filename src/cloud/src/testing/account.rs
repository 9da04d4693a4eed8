//! An account that answers what the tests ask of it, and remembers who asked.

use crate::wire::client::lock;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// One request as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub at: Duration,
    pub operation: String,
    pub parameters: BTreeMap<String, String>,
    /// Method, host, path, headers and body.
    pub bytes: String,
}

/// Answers before the standing ones: operation, status, body.
type Script = Vec<(String, u16, String)>;

#[derive(Debug)]
pub struct Account {
    start: Instant,
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    launched: Mutex<u32>,
    latency: Duration,
}

pub const REQUEST_LIMIT: &str =
    "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow down</Message></Error></Errors></Response>";

impl Account {
    pub fn new(latency: Duration) -> Arc<Self> {
        let (seen, script, launched) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Account { start: Instant::now(), seen, script, launched, latency })
    }

    /// The next call of this operation is answered so; several are answered in turn.
    pub fn next(&self, operation: &str, status: u16, body: impl Into<String>) {
        lock(&self.script).push((operation.to_owned(), status, body.into()));
    }

    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    pub fn calls(&self, operation: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.operation == operation).collect()
    }

    pub fn forget(&self) {
        lock(&self.seen).clear();
    }

    pub fn http(self: &Arc<Self>) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Door(self.clone()));
        http_client_fn(move |_, _| connector.clone())
    }

    fn answer(&self, request: &HttpRequest) -> (u16, String) {
        let seen = read(request, self.start.elapsed());
        let (operation, parameters) = (seen.operation.clone(), seen.parameters.clone());
        lock(&self.seen).push(seen);
        let mut script = lock(&self.script);
        if let Some(at) = script.iter().position(|(name, _, _)| *name == operation) {
            let (_, status, body) = script.remove(at);
            return (status, body);
        }
        drop(script);
        self.standing(&operation, &parameters)
    }

    fn standing(&self, operation: &str, parameters: &BTreeMap<String, String>) -> (u16, String) {
        let xml = |body: &str| (200, format!("<{operation}Response><requestId>r-1</requestId>{body}</{operation}Response>"));
        let error = |status: u16, code: &str| {
            (
                status,
                format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{code}</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
                ),
            )
        };
        if parameters.get("DryRun").is_some_and(|value| value == "true") {
            return error(412, "DryRunOperation");
        }
        match operation {
            "DescribeInstanceTypes" => xml(&format!("<instanceTypeSet>{}</instanceTypeSet>", types())),
            "DescribeInstanceTypeOfferings" => xml(&format!("<instanceTypeOfferingSet>{}</instanceTypeOfferingSet>", type_zones())),
            "DescribeSpotPriceHistory" => xml(&format!("<spotPriceHistorySet>{}</spotPriceHistorySet>", spot_prices())),
            "DescribeSubnets" => xml(&format!("<subnetSet>{}</subnetSet>", subnets())),
            "DescribeSecurityGroups" => {
                xml("<securityGroupInfo><item><groupId>sg-2</groupId><groupName>b</groupName></item><item><groupId>sg-1</groupId><groupName>a</groupName></item></securityGroupInfo>")
            }
            "DescribeImages" => xml(&format!("<imagesSet>{}</imagesSet>", images(parameters))),
            "DescribeLaunchTemplates" if parameters.contains_key("LaunchTemplateName.1") => error(400, "InvalidLaunchTemplateName.NotFoundException"),
            "DescribeLaunchTemplates" => xml("<launchTemplates/>"),
            "CreateLaunchTemplate" => xml(&format!(
                "<launchTemplate><launchTemplateId>lt-1</launchTemplateId><launchTemplateName>{}</launchTemplateName></launchTemplate>",
                parameters["LaunchTemplateName"]
            )),
            "DeleteLaunchTemplate" | "CreateTags" => xml("<return>true</return>"),
            "CreateFleet" => xml(&self.fleet(parameters)),
            "DescribeInstances" => xml(&format!("<reservationSet><item><instancesSet>{}</instancesSet></item></reservationSet>", self.instances(parameters))),
            "TerminateInstances" => {
                let ids = ids(parameters).iter().map(|id| format!("<item><instanceId>{id}</instanceId><currentState><name>shutting-down</name></currentState></item>")).collect::<String>();
                xml(&format!("<instancesSet>{ids}</instancesSet>"))
            }
            "GetInstanceProfile" => {
                (404, "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>no such instance profile</Message></Error></ErrorResponse>".to_owned())
            }
            "CreateInstanceProfile" | "AddRoleToInstanceProfile" | "RemoveRoleFromInstanceProfile" | "DeleteInstanceProfile" => {
                (200, format!("<{operation}Response><{operation}Result/></{operation}Response>"))
            }
            "ListInstanceProfiles" => (
                200,
                "<ListInstanceProfilesResponse><ListInstanceProfilesResult><InstanceProfiles><member><InstanceProfileName>workshop_1</InstanceProfileName>\
                 </member></InstanceProfiles><IsTruncated>false</IsTruncated></ListInstanceProfilesResult></ListInstanceProfilesResponse>"
                    .to_owned(),
            ),
            "GetParameter" => parameter(&parameters["Name"]),
            "GetProducts" => (200, json!({"PriceList": prices(parameters)}).to_string()),
            "GetQueueUrl" => (200, json!({"QueueUrl": "https://sqs.us-west-2.amazonaws.com/1/interruptions"}).to_string()),
            "ReceiveMessage" => (200, json!({"Messages": [{"Body": "{}", "ReceiptHandle": "receipt"}]}).to_string()),
            "DeleteMessage" => (200, String::new()),
            "DescribeCluster" => (
                200,
                json!({"cluster": {"endpoint": "https://cluster.eks", "arn": "arn:aws:eks:us-west-2:123456789012:cluster/workshop", "version": "1.36", "kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.100.0.0/16"}}}).to_string(),
            ),
            other => panic!("nobody taught the account {other}"),
        }
    }

    /// Launches what was asked, in the first pool.
    fn fleet(&self, parameters: &BTreeMap<String, String>) -> String {
        let count: u32 = parameters["TargetCapacitySpecification.TotalTargetCapacity"].parse().unwrap();
        let first = |name: &str| &parameters[&format!("LaunchTemplateConfigs.1.Overrides.1.{name}")];
        let mut launched = lock(&self.launched);
        let ids: String = (0..count).map(|n| format!("<item>i-{:017x}</item>", *launched + n + 1)).collect();
        *launched += count;
        format!(
            "<fleetId>fleet-1</fleetId><errorSet/><fleetInstanceSet><item><launchTemplateAndOverrides><overrides><instanceType>{0}</instanceType>\
             <subnetId>{1}</subnetId><availabilityZone>{2}</availabilityZone><imageId>{3}</imageId></overrides></launchTemplateAndOverrides>\
             <instanceIds>{ids}</instanceIds><instanceType>{0}</instanceType></item></fleetInstanceSet>",
            first("InstanceType"),
            first("SubnetId"),
            first("AvailabilityZone"),
            first("ImageId")
        )
    }

    fn instances(&self, parameters: &BTreeMap<String, String>) -> String {
        let launched: Vec<String> = (1..=*lock(&self.launched)).map(|n| format!("i-{n:017x}")).collect();
        let asked = ids(parameters);
        let listed = launched.iter().filter(|id| asked.is_empty() || asked.contains(id));
        listed
            .map(|id| {
                format!(
                    "<item><instanceId>{id}</instanceId><imageId>ami-x86</imageId><instanceState><code>16</code><name>running</name></instanceState>\
                     <instanceType>m5.large</instanceType><launchTime>2026-11-20T17:00:05.000Z</launchTime><placement><availabilityZone>us-west-2a</availabilityZone>\
                     <availabilityZoneId>usw2-az1</availabilityZoneId><tenancy>default</tenancy></placement><subnetId>subnet-a</subnetId>\
                     <groupSet><item><groupId>sg-1</groupId></item></groupSet><tagSet><item><key>karpenter.sh/nodepool</key><value>default</value></item></tagSet></item>"
                )
            })
            .collect()
    }
}

fn ids(parameters: &BTreeMap<String, String>) -> Vec<String> {
    (1..).map_while(|n| parameters.get(&format!("InstanceId.{n}")).cloned()).collect()
}

/// A type's description: vCPUs, MiB, interfaces and addresses each, markets, and what else.
fn type_xml(name: &str, vcpus: u32, memory: u32, interfaces: u32, addresses: u32, markets: &[&str], rest: &str) -> String {
    let markets: String = markets.iter().map(|market| format!("<item>{market}</item>")).collect();
    let strategies = if name.starts_with("t3") {
        "<item>partition</item><item>spread</item>"
    } else {
        "<item>cluster</item><item>partition</item><item>spread</item>"
    };
    let arch = if name.starts_with("m6g") { "arm64" } else { "x86_64" };
    format!(
        "<item><instanceType>{name}</instanceType><supportedUsageClasses>{markets}</supportedUsageClasses><hypervisor>nitro</hypervisor>\
         <processorInfo><supportedArchitectures><item>{arch}</item></supportedArchitectures><sustainedClockSpeedInGhz>3.1</sustainedClockSpeedInGhz>\
         <manufacturer>Intel</manufacturer></processorInfo><vCpuInfo><defaultVCpus>{vcpus}</defaultVCpus></vCpuInfo>\
         <memoryInfo><sizeInMiB>{memory}</sizeInMiB></memoryInfo><ebsInfo><ebsOptimizedSupport>default</ebsOptimizedSupport><ebsOptimizedInfo>\
         <maximumBandwidthInMbps>4750</maximumBandwidthInMbps></ebsOptimizedInfo></ebsInfo><networkInfo><defaultNetworkCardIndex>0</defaultNetworkCardIndex>\
         <networkCards><item><networkCardIndex>0</networkCardIndex><maximumNetworkInterfaces>{interfaces}</maximumNetworkInterfaces></item></networkCards>\
         <ipv4AddressesPerInterface>{addresses}</ipv4AddressesPerInterface><enaSupport>required</enaSupport>\
         <encryptionInTransitSupported>false</encryptionInTransitSupported></networkInfo><placementGroupInfo><supportedStrategies>{strategies}\
         </supportedStrategies></placementGroupInfo>{rest}</item>"
    )
}

pub fn types() -> String {
    let both = ["on-demand", "spot"];
    let gpu = "<gpuInfo><gpus><item><name>T4</name><manufacturer>NVIDIA</manufacturer><count>1</count><memoryInfo><sizeInMiB>16384</sizeInMiB></memoryInfo></item></gpus></gpuInfo>\
               <instanceStorageInfo><totalSizeInGB>125</totalSizeInGB><nvmeSupport>required</nvmeSupport></instanceStorageInfo>";
    let neuron = "<inferenceAcceleratorInfo><accelerators><member><count>1</count><name>Inferentia2</name><manufacturer>AWS</manufacturer></member></accelerators></inferenceAcceleratorInfo>\
                  <neuronInfo><neuronDevices><item><count>1</count><name>Inferentia2</name><coreInfo><count>2</count></coreInfo></item></neuronDevices></neuronInfo>";
    [
        type_xml("t3.small", 2, 2_048, 3, 4, &both, ""),
        type_xml("t3.medium", 2, 4_096, 3, 6, &both, ""),
        type_xml("m5.large", 2, 8_192, 3, 10, &both, ""),
        type_xml("m5.2xlarge", 8, 32_768, 4, 15, &both, ""),
        type_xml("m6g.large", 2, 8_192, 3, 10, &both, ""),
        type_xml("g4dn.xlarge", 4, 16_384, 3, 10, &both, gpu),
        type_xml("inf2.xlarge", 4, 16_384, 4, 15, &["on-demand"], neuron),
        type_xml("p9.cheap", 2, 8_192, 3, 10, &["on-demand"], ""),
    ]
    .concat()
}

fn type_zones() -> String {
    let names = ["t3.small", "t3.medium", "m5.large", "m5.2xlarge", "m6g.large", "g4dn.xlarge", "inf2.xlarge", "p9.cheap"];
    let zones = ["us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d"];
    let pair = |name: &str, zone: &str| {
        format!("<item><instanceType>{name}</instanceType><locationType>availability-zone</locationType><location>{zone}</location></item>")
    };
    // m5.large is not offered in zone c; zone d has no subnet.
    names
        .iter()
        .flat_map(|name| zones.iter().filter(|zone| !(*name == "m5.large" && zone.ends_with('c'))).map(|zone| pair(name, zone)))
        .collect()
}

fn spot_prices() -> String {
    let rows = [
        ("m5.large", "us-west-2a", "0.040000"),
        ("m5.large", "us-west-2b", "0.035"),
        ("t3.small", "us-west-2a", "0.0063"),
        ("t3.medium", "us-west-2a", "bad"),
    ];
    rows.iter()
        .map(|(name, zone, price)| {
            format!("<item><instanceType>{name}</instanceType><availabilityZone>{zone}</availabilityZone><spotPrice>{price}</spotPrice><timestamp>2026-11-20T16:00:00.000Z</timestamp></item>")
        })
        .collect()
}

fn subnets() -> String {
    let rows = [
        ("subnet-a", "us-west-2a", "usw2-az1", 100),
        ("subnet-a2", "us-west-2a", "usw2-az1", 90),
        ("subnet-b", "us-west-2b", "usw2-az2", 4000),
        ("subnet-c", "us-west-2c", "usw2-az3", 4000),
    ];
    rows.iter()
        .map(|(id, zone, zone_id, free)| {
            format!("<item><subnetId>{id}</subnetId><availabilityZone>{zone}</availabilityZone><availabilityZoneId>{zone_id}</availabilityZoneId><availableIpAddressCount>{free}</availableIpAddressCount></item>")
        })
        .collect()
}

fn images(parameters: &BTreeMap<String, String>) -> String {
    let asked: Vec<&String> = (1..).map_while(|n| parameters.get(&format!("Filter.1.Value.{n}"))).collect();
    let rows = [("ami-x86", "x86_64"), ("ami-nvidia", "x86_64"), ("ami-neuron", "x86_64"), ("ami-arm", "arm64")];
    rows.iter()
        .filter(|(id, _)| asked.iter().any(|asked| *asked == id))
        .map(|(id, arch)| {
            format!(
                "<item><imageId>{id}</imageId><name>{id}-v20261101</name><architecture>{arch}</architecture><creationDate>2026-11-01T00:00:00.000Z</creationDate>\
                 <deprecationTime>2028-11-01T00:00:00.000Z</deprecationTime></item>"
            )
        })
        .collect()
}

fn parameter(name: &str) -> (u16, String) {
    let image = match name {
        name if name.contains("/x86_64/standard/") => "ami-x86",
        name if name.contains("/x86_64/nvidia/") => "ami-nvidia",
        name if name.contains("/x86_64/neuron/") => "ami-neuron",
        name if name.contains("/arm64/standard/") => "ami-arm",
        _ => return (400, json!({"__type": "ParameterNotFound", "message": ""}).to_string()),
    };
    (200, json!({"Parameter": {"Name": name, "Type": "String", "Value": image}}).to_string())
}

fn prices(parameters: &BTreeMap<String, String>) -> Vec<String> {
    let metal = parameters.values().any(|value| value.contains("bare metal"));
    let rows: &[(&str, &str)] =
        if metal { &[("m5.metal", "4.608")] } else { &[("m5.large", "0.0960000000"), ("t3.small", "0.0208"), ("t3.medium", "0.0416")] };
    rows.iter()
        .map(|(name, price)| {
            json!({"product": {"attributes": {"instanceType": name}}, "terms": {"OnDemand": {"t": {"priceDimensions": {"d": {"pricePerUnit": {"USD": price}}}}}}}).to_string()
        })
        .collect()
}

/// Operation and flat parameters of any of the protocols.
fn read(request: &HttpRequest, at: Duration) -> Seen {
    let body = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec()).unwrap();
    let headers: BTreeMap<&str, &str> = request.headers().iter().collect();
    let bytes = format!(
        "{} {}\n{}\n\n{body}",
        request.method(),
        request.uri(),
        headers.iter().map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>().join("\n")
    );
    let (operation, parameters) = match headers.get("x-amz-target") {
        Some(target) => {
            let members: Value = serde_json::from_str(&body).unwrap();
            let flat = members
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            (target.rsplit('.').next().unwrap().to_owned(), flat.collect())
        }
        None if request.uri().contains("/managedresources/") => ("GetManagedResource".to_owned(), BTreeMap::new()),
        None if request.method() == "GET" => ("DescribeCluster".to_owned(), BTreeMap::new()),
        None => {
            let form = form(&body);
            (form["Action"].clone(), form)
        }
    };
    Seen { at, operation, parameters, bytes }
}

/// A form body as a map.
pub fn form(body: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (decode(key), decode(value))).collect()
}

#[derive(Debug)]
struct Door(Arc<Account>);

impl HttpConnector for Door {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let account = self.0.clone();
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(account.latency).await;
            let (status, body) = account.answer(&request);
            let response = http::Response::builder().status(status).body(SdkBody::from(body)).unwrap();
            Ok(response.try_into().unwrap())
        })
    }
}
