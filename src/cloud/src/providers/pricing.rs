//! What instance types cost. Source: `A/pkg/providers/pricing/pricing.go`.

use crate::port::CloudError;
use crate::tables;
use crate::telling::{Report, tell};
use crate::wire::client::{Call, Client, Reply, lock};
use crate::wire::{Element, Service};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vocabulary::UsdPerHour;

/// Whoever asks: at the start upstream has this controller ask, too.
const CONTROLLER: &str = "providers.pricing";

/// Last known prices, USD per hour (CNY in China). Before the first refresh they are those that upstream compiles in, and a Spot
/// price is the on-demand price.
pub struct Pricing {
    region: String,
    isolated: bool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    on_demand: BTreeMap<String, f64>,
    /// By type and zone; `None` until the first refresh.
    spot: Option<BTreeMap<String, BTreeMap<String, f64>>>,
    /// What NodeOverlays say that types cost of which no price is known.
    named: BTreeMap<Arc<str>, UsdPerHour>,
    refreshes: u64,
    /// The price list has been read once.
    listed: bool,
}

impl Pricing {
    pub fn new(region: &str, isolated: bool) -> Self {
        let known = Known { on_demand: tables::first_prices(region).clone(), ..Known::default() };
        Pricing { region: region.to_owned(), isolated, known: Mutex::new(known) }
    }

    pub fn on_demand(&self, instance_type: &str) -> Option<f64> {
        lock(&self.known).on_demand.get(instance_type).copied()
    }

    pub fn spot(&self, instance_type: &str, zone: &str) -> Option<f64> {
        let known = lock(&self.known);
        match &known.spot {
            Some(prices) => prices.get(instance_type)?.get(zone).copied(),
            None => tables::first_prices(&self.region).get(instance_type).copied(),
        }
    }

    /// What a NodeOverlay says (`A/pkg/providers/instancetype/offering/base_resolver.go`). Upstream looks at the overlays every five
    /// minutes; here they count at once.
    pub fn named(&self, instance_type: &str) -> Option<f64> {
        lock(&self.known).named.get(instance_type).map(|price| price.dollars())
    }

    pub fn name(&self, prices: &BTreeMap<Arc<str>, UsdPerHour>) {
        let mut known = lock(&self.known);
        if known.named != *prices {
            known.named.clone_from(prices);
            known.refreshes += 1;
        }
    }

    /// Grows with every change.
    pub fn refreshes(&self) -> u64 {
        lock(&self.known).refreshes
    }

    /// Asks for both markets side by side; an error of one does not keep the other from being taken.
    pub async fn refresh(&self, client: &Client, now: Timestamp) -> Result<(), CloudError> {
        let (spot, on_demand) = futures::future::join(self.refresh_spot(client, now), self.refresh_on_demand(client)).await;
        spot.and(on_demand)
    }

    async fn refresh_on_demand(&self, client: &Client) -> Result<(), CloudError> {
        if self.isolated || self.region.starts_with("us-gov") {
            // The price list is not to be reached from there.
            let why = if self.isolated {
                "running in an isolated VPC, on-demand pricing information will not be updated"
            } else {
                "pricing APIs aren't available in AWS GovCloud regions, on-demand pricing information will not be updated"
            };
            tell(Report::debug(why, []));
            return Ok(());
        }
        let shared = self.products(client, "Shared", "Compute Instance");
        let metal = self.products(client, "Dedicated", "Compute Instance (bare metal)");
        let (shared, metal) = futures::future::join(shared, metal).await;
        let (shared, metal) = (shared?, metal?);
        if shared.is_empty() || metal.is_empty() {
            return Err(nothing("pricing:GetProducts", "no on-demand pricing found"));
        }
        let mut known = lock(&self.known);
        let mut all = known.on_demand.clone();
        all.extend(shared);
        all.extend(metal);
        if !known.listed || all != known.on_demand {
            tell(Report::debug("updated on-demand pricing", [("instance-type-count", all.len().into())]).by(CONTROLLER));
        }
        (known.on_demand, known.listed) = (all, true);
        known.refreshes += 1;
        Ok(())
    }

    async fn products(&self, client: &Client, tenancy: &str, family: &str) -> Result<BTreeMap<String, f64>, CloudError> {
        let filters = [
            ("regionCode", self.region.as_str()),
            ("serviceCode", "AmazonEC2"),
            ("preInstalledSw", "NA"),
            ("operatingSystem", "Linux"),
            ("capacitystatus", "Used"),
            ("marketoption", "OnDemand"),
            ("tenancy", tenancy),
            ("productFamily", family),
        ];
        let filters: Vec<Value> =
            filters.iter().map(|(field, value)| json!({"Field": field, "Type": "TERM_MATCH", "Value": value})).collect();
        let call = Call::new(Service::Pricing, "GetProducts", json!({"Filters": filters, "MaxResults": 100, "ServiceCode": "AmazonEC2"}));
        let pages = client.pages(call, "NextToken", json_token).await?;
        let currency = if self.region.starts_with("cn-") { "CNY" } else { "USD" };
        let mut prices = BTreeMap::new();
        for page in pages {
            let page = page.json();
            let items = page.get("PriceList").and_then(Value::as_array).into_iter().flatten();
            for item in items.filter_map(Value::as_str).filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
                prices.extend(price(&item, currency));
            }
        }
        Ok(prices)
    }

    async fn refresh_spot(&self, client: &Client, now: Timestamp) -> Result<(), CloudError> {
        let parameters = json!({
            "ProductDescriptions": ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
            "StartTime": date_time(now),
            "MaxResults": 2000,
        });
        let mut prices: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        let read = |page: &Element| {
            for (name, zone, price) in page.list("spotPriceHistorySet").filter_map(spot) {
                prices.entry(name).or_default().insert(zone, price);
            }
        };
        client.ec2_each("DescribeSpotPriceHistory", parameters, read).await?;
        if prices.is_empty() {
            return Err(nothing("ec2:DescribeSpotPriceHistory", "no spot pricing found"));
        }
        let mut known = lock(&self.known);
        let mut all = known.spot.clone().unwrap_or_default();
        let offerings: usize = prices.values().map(BTreeMap::len).sum();
        for (name, zones) in prices {
            all.entry(name).or_default().extend(zones);
        }
        if known.spot.as_ref() != Some(&all) {
            // Types whose Spot price nobody said yet count, too.
            let unsaid = tables::first_prices(&self.region).keys().filter(|name| !all.contains_key(*name)).count();
            let keys = [("instance-type-count", (all.len() + unsaid).into()), ("offering-count", offerings.into())];
            tell(Report::debug("updated spot pricing with instance types and offerings", keys).by(CONTROLLER));
        }
        known.spot = Some(all);
        known.refreshes += 1;
        Ok(())
    }
}

/// Seconds with milliseconds where there are any, as smithy-go writes timestamps (`smithy-go/time/time.go`, FormatDateTime).
pub fn date_time(at: Timestamp) -> String {
    match at.subsec_millisecond() {
        0 => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        millis => {
            let fraction = format!("{millis:03}");
            format!("{}.{}Z", at.strftime("%Y-%m-%dT%H:%M:%S"), fraction.trim_end_matches('0'))
        }
    }
}

fn json_token(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Json(body) => body.get("NextToken")?.as_str().filter(|token| !token.is_empty()).map(str::to_owned),
        Reply::Xml(_) => None,
    }
}

fn spot(item: &Element) -> Option<(String, String, f64)> {
    // Records without a time are passed over.
    item.child("timestamp")?;
    let price: f64 = item.number(&["spotPrice"]).filter(|price: &f64| price.is_finite())?;
    Some((item.string("instanceType")?, item.string("availabilityZone")?, price))
}

/// Type and price of a product; of several dimensions the last counts. A price of zero is none.
fn price(item: &Value, currency: &str) -> Option<(String, f64)> {
    let name = item.pointer("/product/attributes/instanceType")?.as_str().filter(|name| !name.is_empty())?;
    let terms = item.pointer("/terms/OnDemand")?.as_object()?;
    let dimensions = terms.values().filter_map(|term| term.get("priceDimensions")?.as_object()).flat_map(|all| all.values());
    let mut prices = dimensions.filter_map(|dimension| dimension.get("pricePerUnit")?.get(currency)?.as_str()?.parse::<f64>().ok());
    prices.rfind(|price| *price != 0.0 && price.is_finite()).map(|price| (name.to_owned(), price))
}

fn nothing(operation: &str, message: &str) -> CloudError {
    CloudError { operation: operation.to_owned(), code: "NoPrices".to_owned(), message: message.to_owned(), status: 200, request_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_gives_its_last_price_that_is_not_zero() {
        let item = |prices: &[&str]| {
            let dimensions: serde_json::Map<_, _> =
                prices.iter().enumerate().map(|(n, p)| (n.to_string(), json!({"pricePerUnit": {"USD": p}}))).collect();
            json!({"product": {"attributes": {"instanceType": "m5.large"}}, "terms": {"OnDemand": {"t": {"priceDimensions": dimensions}}}})
        };
        assert_eq!(price(&item(&["0.0960000000", "0.0"]), "USD"), Some(("m5.large".to_owned(), 0.096)));
        assert_eq!(price(&item(&["x"]), "USD"), None);
        assert_eq!(price(&item(&["1"]), "CNY"), None);
        assert_eq!(price(&json!({}), "USD"), None);
    }

    #[test]
    fn until_prices_are_read_spot_costs_the_list_price() {
        let pricing = Pricing::new("us-west-2", false);
        assert_eq!((pricing.on_demand("m5.large"), pricing.spot("m5.large", "us-west-2a")), (Some(0.096), Some(0.096)));
        assert_eq!(pricing.on_demand("no.such"), None);
    }

    #[test]
    fn times_are_written_as_the_go_sdk_does() {
        let at = |text: &str| date_time(text.parse().unwrap());
        assert_eq!(at("2026-11-20T17:00:00Z"), "2026-11-20T17:00:00Z");
        assert_eq!(at("2026-11-20T17:00:00.120Z"), "2026-11-20T17:00:00.12Z");
        assert_eq!(at("2026-11-20T17:00:00.000900Z"), "2026-11-20T17:00:00Z");
    }
}
