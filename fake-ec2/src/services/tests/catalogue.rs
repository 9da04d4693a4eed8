//! Types, offerings, prices, images: what Karpenter reads when it starts.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Desk, code, filter, texts};
use crate::catalogue::MicroUsd;
use crate::model::Service;
use crate::state::Settings;
use crate::state::settings::{OnDemandPrice, SpotPrice};

/// All pages of an operation.
fn pages(desk: &mut Desk, service: Service, operation: &'static str, input: &Value, list: &str) -> Vec<Value> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let mut input = input.clone();
        if !token.is_empty() {
            input["NextToken"] = json!(token);
        }
        let page = desk.ask(service, operation, input).expect("a page");
        all.extend(page[list].as_array().cloned().unwrap_or_default());
        token = page["NextToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return all;
        }
    }
}

#[test]
fn types_and_offerings_agree() {
    let mut desk = Desk::new();
    let filters = json!([
        {"Name": "supported-virtualization-type", "Values": ["hvm"]},
        {"Name": "processor-info.supported-architecture", "Values": ["x86_64", "arm64"]},
    ]);
    let input = json!({"Filters": filters, "MaxResults": 100});
    let types = pages(&mut desk, Service::Ec2, "DescribeInstanceTypes", &input, "InstanceTypes");
    let mut names = texts(&json!(types), "InstanceType");
    assert!(names.len() > 1000 && names.is_sorted(), "{}", names.len());
    names.dedup();
    assert_eq!(names.len(), types.len());
    let input = json!({"LocationType": "availability-zone", "MaxResults": 1000});
    let offerings = pages(&mut desk, Service::Ec2, "DescribeInstanceTypeOfferings", &input, "InstanceTypeOfferings");
    assert!(offerings.len() > 4000);
    for name in &names {
        assert!(offerings.iter().any(|offering| offering["InstanceType"] == json!(name)), "{name} is offered somewhere");
    }
    for details in &types {
        let card = details["NetworkInfo"]["DefaultNetworkCardIndex"].as_u64().expect("Karpenter reads it without a check") as usize;
        assert!(details["NetworkInfo"]["NetworkCards"][card]["MaximumNetworkInterfaces"].is_u64(), "{}", details["InstanceType"]);
        assert!(details["NetworkInfo"]["Ipv4AddressesPerInterface"].is_u64() && details["VCpuInfo"]["DefaultVCpus"].is_u64());
        assert!(details["MemoryInfo"]["SizeInMiB"].is_u64() && details["SupportedUsageClasses"].is_array());
    }
}

#[test]
fn the_first_call_of_karpenter_is_a_dry_run() {
    assert_eq!(code(&Desk::new().ec2("DescribeInstanceTypes", json!({"DryRun": true}))), "DryRunOperation");
}

#[test]
fn offered_types_can_be_few() {
    let settings = Settings { offered_types: Some(vec!["m5.large".into(), "t3.small".into()]), ..Settings::default() };
    let mut desk = Desk::with(settings);
    let types = desk.ec2("DescribeInstanceTypes", json!({})).expect("types");
    assert_eq!(texts(&types["InstanceTypes"], "InstanceType"), ["m5.large", "t3.small"]);
    assert_eq!(code(&desk.ec2("DescribeInstanceTypes", json!({"InstanceTypes": ["c5.large"]}))), "InvalidInstanceType");
}

#[test]
fn spot_has_a_price_per_type_and_zone() {
    let row = |zone: Option<&str>, micro| SpotPrice {
        instance_type: "m5.large".into(),
        zone: zone.map(str::to_owned),
        per_hour: MicroUsd(micro),
    };
    let mut desk = Desk::with(Settings { spot_prices: vec![row(Some("us-west-2b"), 41_300), row(None, 40_000)], ..Settings::default() });
    let input = json!({"ProductDescriptions": ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"], "StartTime": "2026-11-20T17:00:00.000Z", "MaxResults": 2000});
    let prices = pages(&mut desk, Service::Ec2, "DescribeSpotPriceHistory", &input, "SpotPriceHistory");
    let of = |name: &str| -> Vec<(String, String)> {
        let rows = prices.iter().filter(|row| row["InstanceType"] == name);
        rows.map(|row| {
            (row["AvailabilityZone"].as_str().unwrap_or_default().to_owned(), row["SpotPrice"].as_str().unwrap_or_default().to_owned())
        })
        .collect()
    };
    let expected = [("us-west-2a", "0.040000"), ("us-west-2b", "0.041300"), ("us-west-2c", "0.040000"), ("us-west-2d", "0.040000")];
    assert_eq!(of("m5.large"), expected.map(|(zone, price)| (zone.to_owned(), price.to_owned())));
    let c5 = of("c5.large");
    assert!(c5.windows(2).any(|pair| pair[0].1 != pair[1].1), "zones differ: {c5:?}");
    assert!(prices.len() > 3000 && prices.iter().all(|row| row["Timestamp"].is_string()));
}

#[rstest]
#[case("Shared", "Compute Instance", "m5.large", "0.0960000000")]
#[case("Dedicated", "Compute Instance (bare metal)", "m5.metal", "4.6080000000")]
fn the_price_list_answers_karpenters_question(#[case] tenancy: &str, #[case] family: &str, #[case] name: &str, #[case] price: &str) {
    let mut desk = Desk::new();
    let term = |field: &str, value: &str| json!({"Type": "TERM_MATCH", "Field": field, "Value": value});
    let filters = json!([
        term("regionCode", "us-west-2"),
        term("serviceCode", "AmazonEC2"),
        term("preInstalledSw", "NA"),
        term("operatingSystem", "Linux"),
        term("capacitystatus", "Used"),
        term("marketoption", "OnDemand"),
        term("tenancy", tenancy),
        term("productFamily", family),
    ]);
    let input = json!({"ServiceCode": "AmazonEC2", "MaxResults": 100, "Filters": filters});
    let list = pages(&mut desk, Service::Pricing, "GetProducts", &input, "PriceList");
    let products: Vec<Value> = list.iter().map(|text| serde_json::from_str(text.as_str().expect("text")).expect("JSON")).collect();
    let product = products.iter().find(|product| product["product"]["attributes"]["instanceType"] == name).expect("the type");
    let term = product["terms"]["OnDemand"].as_object().expect("terms").values().next().expect("one");
    let dimension = term["priceDimensions"].as_object().expect("dimensions").values().next().expect("one");
    assert_eq!(dimension["pricePerUnit"]["USD"], price);
    let metal = |product: &Value| product["product"]["attributes"]["instanceType"].as_str().is_some_and(|name| name.contains("metal"));
    assert!(products.iter().all(|product| metal(product) == (tenancy == "Dedicated")));
}

#[test]
fn a_price_can_be_replaced() {
    let price = OnDemandPrice { region: None, instance_type: "m5.large".into(), per_hour: MicroUsd(123_456) };
    let mut desk = Desk::with(Settings { on_demand_prices: vec![price], ..Settings::default() });
    desk.run("m5.large", 1);
    assert_eq!(desk.state.machines()[0].price_per_hour, Some(MicroUsd(123_456)));
    assert_eq!(desk.state.ledger()[0].price_per_hour, Some(MicroUsd(123_456)));
}

#[test]
fn images_are_found_as_karpenter_looks_for_them() {
    let mut desk = Desk::new();
    let id = desk.image();
    let filters = json!([{"Name": "image-id", "Values": [id]}, {"Name": "state", "Values": ["available"]}]);
    let found = desk.ec2("DescribeImages", json!({"Filters": filters, "IncludeDeprecated": true, "MaxResults": 1000})).expect("images");
    let image = &found["Images"][0];
    assert_eq!((&image["ImageId"], &image["Architecture"], &image["OwnerId"]), (&json!(id), &json!("x86_64"), &json!("602401143452")));
    assert!(image["CreationDate"].is_string() && image["DeprecationTime"].is_string());
    let by_name = |owners: Value| json!({"Filters": filter("name", &["amazon-eks-node-al2023-x86_64-standard-1.36-*"]), "Owners": owners});
    let named = desk.ec2("DescribeImages", by_name(json!(["self", "amazon"]))).expect("images");
    assert_eq!(named["Images"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.ec2("DescribeImages", by_name(json!(["self"]))).expect("images")["Images"], json!([]));
    desk.now = "2028-09-10T00:00:00Z".parse().expect("an instant");
    assert_eq!(
        desk.ec2("DescribeImages", by_name(json!(["amazon"]))).expect("images")["Images"].as_array().map(Vec::len),
        Some(1),
        "one is deprecated"
    );
    let mut all = by_name(json!(["amazon"]));
    all["IncludeDeprecated"] = json!(true);
    assert_eq!(desk.ec2("DescribeImages", all).expect("images")["Images"].as_array().map(Vec::len), Some(2));
}

#[rstest]
#[case("DescribeImages", json!({"ImageIds": ["ami-0123456789abcdef0"]}), "InvalidAMIID.NotFound")]
#[case("DescribeInstanceTypes", json!({"Filters": [{"Name": "colour", "Values": ["red"]}]}), "InvalidParameterValue")]
#[case("DescribeInstanceTypes", json!({"MaxResults": 101}), "InvalidParameterValue")]
#[case("DescribeInstanceTypes", json!({"MaxResults": 50, "InstanceTypes": ["m5.large"]}), "InvalidParameterCombination")]
#[case("DescribeInstanceTypeOfferings", json!({"MaxResults": 1001}), "InvalidParameterValue")]
#[case("DescribeCapacityReservations", json!({"CapacityReservationIds": ["cr-0123456789abcdef0"]}), "InvalidCapacityReservationId.NotFound")]
#[case("DescribePlacementGroups", json!({"GroupNames": ["spread"]}), "InvalidPlacementGroup.Unknown")]
#[case("DescribeRegions", json!({"RegionNames": ["moon-1"]}), "InvalidParameterValue")]
fn refused(#[case] operation: &'static str, #[case] input: Value, #[case] expected: &str) {
    assert_eq!(code(&Desk::new().ec2(operation, input)), expected);
}

#[test]
fn regions_stand_apart() {
    let mut desk = Desk::new();
    desk.run("m5.large", 1);
    let mut call = super::call(Service::Ec2, "DescribeInstances", json!({}));
    call.region = "eu-central-1".into();
    let answer = super::super::perform(&mut desk.state, desk.now, &call).expect("an answer");
    assert_eq!(answer["Reservations"], json!([]));
    call.region = "moon-1".into();
    assert_eq!(code(&super::super::perform(&mut desk.state, desk.now, &call)), "AuthFailure");
}

/// Source: EC2 user guide, "Amazon EC2 instance types": what is of a previous generation.
#[rstest]
#[case(&["m5.large", "c5.large", "r5.large", "m6i.large", "r6i.large", "g5.xlarge", "r7g.large", "c6gn.large", "m5d.large", "t2.micro"], true)]
#[case(&["m1.small", "t1.micro", "c3.large", "m4.large", "a1.large"], false)]
fn generations_are_current_or_previous(#[case] names: &[&str], #[case] current: bool) {
    let mut desk = Desk::seeded(7, Settings::default());
    let answer = desk.ec2("DescribeInstanceTypes", json!({"InstanceTypes": names})).expect("types");
    for details in answer["InstanceTypes"].as_array().expect("a list") {
        assert_eq!(details["CurrentGeneration"], current, "{}", details["InstanceType"]);
    }
    let filters = json!([{"Name": "current-generation", "Values": [(!current).to_string()]}]);
    let none = desk.ec2("DescribeInstanceTypes", json!({"InstanceTypes": names, "Filters": filters})).expect("types");
    assert_eq!(none["InstanceTypes"], json!([]));
}
