//! The price list: EC2's on-demand prices for Linux, as GetProducts tells them.

use serde_json::{Map, Value, json};

use super::input::{Out, Read};
use super::page;
use super::{Answer, errors};
use crate::catalogue::{self, InstanceType, MicroUsd};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::entropy::public_id;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "DescribeServices" => services(call),
        "GetProducts" => products(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

/// The one service whose prices are here.
fn services(call: &Call) -> Answer {
    if let Some(other) = call.input.text("ServiceCode").filter(|code| *code != "AmazonEC2") {
        return Err(errors::PRICING_SERVICE.error(&[other]));
    }
    let details = catalogue::instance_type("m5.large").map(|details| attributes("us-east-1", details)).unwrap_or_default();
    let mut names: Vec<&String> = details.keys().collect();
    names.sort();
    let row = ("AmazonEC2".to_owned(), json!({"ServiceCode": "AmazonEC2", "AttributeNames": names}));
    let (services, token) = page::cut_by(call, 100, call.input.text("NextToken"), &errors::PRICING_TOKEN, vec![row])?;
    Ok(Out::new().with("FormatVersion", "aws_v1").with("Services", services).maybe("NextToken", token).done())
}

fn products(world: &mut World<'_>, call: &Call) -> Answer {
    let service = call.input.text("ServiceCode").unwrap_or_default();
    if service != "AmazonEC2" {
        return Err(errors::PRICING_SERVICE.error(&[service]));
    }
    let wanted = filters(call)?;
    let regions = wanted.iter().find(|(field, _)| field == "regioncode").map(|(_, region)| vec![region.as_str()]);
    let regions = regions.unwrap_or_else(|| catalogue::regions().keys().copied().collect());
    let length = call.input.int("MaxResults").and_then(|most| usize::try_from(most).ok()).unwrap_or(100).clamp(1, 100);
    let place = page::place_by(call, length, call.input.text("NextToken"), &errors::PRICING_TOKEN)?;
    let sold = regions.into_iter().flat_map(|region| {
        let by_type = catalogue::offerings(region).chunk_by(|one, two| one.instance_type == two.instance_type);
        by_type.filter_map(move |offerings| Some((region, offerings.first()?.instance_type)))
    });
    let keyed = sold.map(|(region, name)| (format!("{region}\u{0}{name}"), (region, name)));
    let (list, token) = place.take(call, keyed, |(region, name)| {
        let (price, details) = (world.account.on_demand_price(region, name)?, catalogue::instance_type(name)?);
        let attributes = attributes(region, details);
        let meets = wanted.iter().all(|(field, value)| has(&attributes, details, field, value));
        meets.then(|| product(region, details, attributes, price))
    });
    Ok(Out::new().with("FormatVersion", "aws_v1").with("PriceList", list).maybe("NextToken", token).done())
}

/// Fields in lower case, since the API takes `capacitystatus` and `capacityStatus` alike, with the values to match.
fn filters(call: &Call) -> Result<Vec<(String, String)>, AwsError> {
    let mut wanted = Vec::new();
    for filter in call.input.list("Filters") {
        let kind = filter.text("Type").unwrap_or_default();
        if kind != "TERM_MATCH" && kind != "EQUALS" {
            return Err(errors::PRICING_PARAMETER.error(&[&format!("Filter type {kind} is not supported by this cloud.")]));
        }
        let (field, value) = (filter.text("Field").unwrap_or_default(), filter.text("Value").unwrap_or_default());
        wanted.push((field.to_ascii_lowercase(), value.to_owned()));
    }
    Ok(wanted)
}

fn has(attributes: &Map<String, Value>, details: &InstanceType, field: &str, value: &str) -> bool {
    if field == "productfamily" {
        return family(details) == value;
    }
    if field == "servicecode" {
        return value == "AmazonEC2";
    }
    let found = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).and_then(|(_, value)| value.as_str());
    found.is_some_and(|found| found.eq_ignore_ascii_case(value))
}

fn family(details: &InstanceType) -> &'static str {
    if details.bare_metal() { "Compute Instance (bare metal)" } else { "Compute Instance" }
}

/// Bare metal is listed under dedicated tenancy: that is where Karpenter looks it up (A/pkg/providers/pricing/pricing.go).
fn tenancy(details: &InstanceType) -> &'static str {
    if details.bare_metal() { "Dedicated" } else { "Shared" }
}

fn attributes(region: &str, details: &InstanceType) -> Map<String, Value> {
    let memory = details.memory_mib();
    let memory = if memory.is_multiple_of(1024) { format!("{} GiB", memory / 1024) } else { format!("{:.1} GiB", memory as f64 / 1024.0) };
    let pairs = [
        ("instanceType", details.name()),
        ("regionCode", region),
        ("servicecode", "AmazonEC2"),
        ("locationType", "AWS Region"),
        ("operatingSystem", "Linux"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
        ("marketoption", "OnDemand"),
        ("licenseModel", "No License required"),
        ("operation", "RunInstances"),
        ("tenancy", tenancy(details)),
        ("currentGeneration", if details.current_generation() { "Yes" } else { "No" }),
        ("memory", memory.as_str()),
    ];
    let mut attributes: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    attributes.insert("vcpu".into(), details.vcpus().to_string().into());
    attributes
}

fn product(region: &str, details: &InstanceType, attributes: Map<String, Value>, price: MicroUsd) -> String {
    let sku = public_id("", &format!("sku/{region}/{}", details.name()))[2..].to_ascii_uppercase();
    // The codes of the on-demand term and of its hourly rate are the same for every product.
    let (term, rate) = (format!("{sku}.JRTCKXETXF"), format!("{sku}.JRTCKXETXF.6YS6EN2CT7"));
    let dimension = json!({
        "unit": "Hrs", "endRange": "Inf", "beginRange": "0", "rateCode": rate, "appliesTo": [],
        "description": format!("${} per On Demand Linux {} Instance Hour", price.to_decimal(), details.name()),
        "pricePerUnit": {"USD": format!("{}0000", price.to_decimal())},
    });
    json!({
        "product": {"productFamily": family(details), "attributes": attributes, "sku": sku},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {&term: {
            "priceDimensions": {&rate: dimension}, "sku": sku, "effectiveDate": "2026-07-01T00:00:00Z", "offerTermCode": "JRTCKXETXF",
            "termAttributes": {},
        }}},
        "version": "20260720000000",
        "publicationDate": "2026-07-20T00:00:00Z",
    })
    .to_string()
}
