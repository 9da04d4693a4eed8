//! Reads a region's types, offerings and prices from the account that the environment names. Only reads.

use super::{File, Offer};
use ambient::{Clock, Entropy};
use aws_config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use cloud::CloudError;
use cloud::providers::pricing::date_time;
use cloud::wire::{Call, Client, Element, Reply, Service};
use fake_ec2::model::{Kind, Member, Model, ShapeId};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error("{operation}: {code}: {message}")]
    Refused { operation: String, code: String, message: String },
    #[error("no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

impl From<CloudError> for RefreshError {
    fn from(error: CloudError) -> Self {
        Self::Refused { operation: error.operation, code: error.code, message: error.message }
    }
}

/// The region of the environment unless one is named. Credentials come as with every AWS tool; `AWS_ENDPOINT_URL` is honoured.
pub fn refresh(region: Option<&str>) -> Result<File, RefreshError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RefreshError::Runtime)?;
    runtime.block_on(read(region.map(str::to_owned)))
}

async fn read(region: Option<String>) -> Result<File, RefreshError> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    let config = loader.load().await;
    let clock = Clock::machine();
    let surroundings = cloud::aws::surroundings(&config, http, clock.clone())?;
    let region = surroundings.region.clone();
    let client = Client::new(&surroundings, &Entropy::from_seed(0));
    let mut file = File::new(&region, &format!("an account, {}", clock.now().strftime("%Y-%m-%dT%H:%MZ")));
    let zones = zones(&client).await?;
    types(&client, &mut file).await?;
    offerings(&client, &zones, &mut file).await?;
    file.types.retain(|_, offer| !offer.zones.is_empty());
    spot(&client, &date_time(clock.now()), &mut file).await?;
    on_demand(&client, &region, &mut file).await?;
    Ok(file)
}

/// Availability zones; local and wavelength zones are left out.
async fn zones(client: &Client) -> Result<BTreeSet<String>, CloudError> {
    let mut found = BTreeSet::new();
    let read = |page: &Element| {
        let plain = page.list("availabilityZoneInfo").filter(|zone| zone.string("zoneType").is_none_or(|kind| kind == "availability-zone"));
        found.extend(plain.filter_map(|zone| zone.string("zoneName")));
    };
    client.ec2_each("DescribeAvailabilityZones", json!({}), read).await?;
    Ok(found)
}

async fn types(client: &Client, file: &mut File) -> Result<(), CloudError> {
    let model = fake_ec2::model::Service::Ec2.model();
    let shape = model.operations.get("DescribeInstanceTypes").and_then(|operation| operation.output);
    let mut read = |page: &Element| {
        let value = shape.map(|shape| value(model, shape, page)).unwrap_or_default();
        for details in value["InstanceTypes"].as_array().into_iter().flatten() {
            if let Some(name) = details["InstanceType"].as_str() {
                file.types.insert(name.to_owned(), Offer { details: details.clone(), ..Offer::default() });
            }
        }
    };
    client.ec2_each("DescribeInstanceTypes", json!({"MaxResults": 100}), &mut read).await
}

async fn offerings(client: &Client, zones: &BTreeSet<String>, file: &mut File) -> Result<(), CloudError> {
    let read = |page: &Element| {
        for offering in page.list("instanceTypeOfferingSet") {
            let (Some(name), Some(zone)) = (offering.string("instanceType"), offering.string("location")) else { continue };
            if let Some(offer) = file.types.get_mut(&name).filter(|_| zones.contains(&zone)) {
                offer.zones.push(zone);
            }
        }
    };
    client.ec2_each("DescribeInstanceTypeOfferings", json!({"LocationType": "availability-zone", "MaxResults": 1000}), read).await?;
    file.types.values_mut().for_each(|offer| offer.zones.sort());
    Ok(())
}

async fn spot(client: &Client, now: &str, file: &mut File) -> Result<(), CloudError> {
    let parameters = json!({"ProductDescriptions": ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"], "StartTime": now, "MaxResults": 1000});
    let read = |page: &Element| {
        for row in page.list("spotPriceHistorySet") {
            let (Some(name), Some(zone), Some(price)) =
                (row.string("instanceType"), row.string("availabilityZone"), row.string("spotPrice"))
            else {
                continue;
            };
            if let Some(offer) = file.types.get_mut(&name).filter(|offer| offer.zones.contains(&zone)) {
                offer.spot.insert(zone, six_places(&price));
            }
        }
    };
    client.ec2_each("DescribeSpotPriceHistory", parameters, read).await
}

/// Linux, nothing preinstalled, on shared hosts; bare metal is sold as dedicated.
async fn on_demand(client: &Client, region: &str, file: &mut File) -> Result<(), CloudError> {
    for (tenancy, family) in [("Shared", "Compute Instance"), ("Dedicated", "Compute Instance (bare metal)")] {
        let filters: Vec<Value> = [
            ("regionCode", region),
            ("serviceCode", "AmazonEC2"),
            ("preInstalledSw", "NA"),
            ("operatingSystem", "Linux"),
            ("capacitystatus", "Used"),
            ("marketoption", "OnDemand"),
            ("tenancy", tenancy),
            ("productFamily", family),
        ]
        .iter()
        .map(|(field, value)| json!({"Field": field, "Type": "TERM_MATCH", "Value": value}))
        .collect();
        let call = Call::new(Service::Pricing, "GetProducts", json!({"Filters": filters, "MaxResults": 100, "ServiceCode": "AmazonEC2"}));
        let token = |reply: &Reply| match reply {
            Reply::Json(value) => value["NextToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned),
            _ => None,
        };
        for page in client.pages(call, "NextToken", token).await? {
            let page = page.json();
            let products = page["PriceList"].as_array().into_iter().flatten();
            for product in products.filter_map(Value::as_str).filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
                let name = product["product"]["attributes"]["instanceType"].as_str().unwrap_or_default();
                if let (Some(price), Some(offer)) = (hourly(&product), file.types.get_mut(name)) {
                    offer.on_demand = Some(six_places(price));
                }
            }
        }
    }
    Ok(())
}

fn hourly(product: &Value) -> Option<&str> {
    let terms = product["terms"]["OnDemand"].as_object()?.values();
    let mut dimensions = terms.filter_map(|term| term["priceDimensions"].as_object()).flat_map(Map::values);
    dimensions.find_map(|dimension| dimension["pricePerUnit"]["USD"].as_str().or_else(|| dimension["pricePerUnit"]["CNY"].as_str()))
}

/// Dollars as they stand in a file.
fn six_places(price: &str) -> String {
    fake_ec2::state::market::parse_usd(price).map_or_else(|| price.to_owned(), fake_ec2::catalogue::MicroUsd::to_decimal)
}

/// EC2's XML by its model.
fn value(model: &Model, shape: ShapeId, element: &Element) -> Value {
    match &model.shape(shape).kind {
        Kind::Structure(members) => {
            let by_name: BTreeMap<&str, &Member> = members.iter().map(|member| (member.wire_name(), member)).collect();
            let children = element.children.iter().filter_map(|child| Some((by_name.get(child.name.as_str())?, child)));
            Value::Object(children.map(|(member, child)| (member.name.to_owned(), value(model, member.shape, child))).collect())
        }
        Kind::List { member, .. } => element.children.iter().map(|item| value(model, member.shape, item)).collect(),
        Kind::Integer | Kind::Long => element.text.parse::<i64>().map_or(Value::Null, Value::from),
        Kind::Number => element.text.parse::<f64>().map_or(Value::Null, Value::from),
        Kind::Boolean => Value::Bool(element.text == "true"),
        Kind::Map { .. } | Kind::Text | Kind::Timestamp | Kind::Blob => Value::from(element.text.clone()),
    }
}
