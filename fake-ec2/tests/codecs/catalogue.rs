//! The catalogue's facts, spot-checked against AWS's instance type pages and price list.

use fake_ec2::catalogue::{self, MicroUsd, Price};
use rstest::rstest;

#[rstest]
#[case("m5.large", 2, 8192, 3, 10, &["x86_64"])]
#[case("t3.small", 2, 2048, 3, 4, &["x86_64"])]
#[case("t3.medium", 2, 4096, 3, 6, &["x86_64"])]
#[case("c6g.xlarge", 4, 8192, 4, 15, &["arm64"])]
#[case("p5.48xlarge", 192, 2_097_152, 64, 50, &["x86_64"])]
fn a_type_has_its_facts(
    #[case] name: &str,
    #[case] vcpus: u32,
    #[case] memory: u64,
    #[case] interfaces: u32,
    #[case] addresses: u32,
    #[case] architectures: &[&str],
) {
    let found = catalogue::instance_type(name).expect("the type is in the catalogue");
    assert_eq!((found.vcpus(), found.memory_mib()), (vcpus, memory));
    assert_eq!((found.max_network_interfaces(), found.ipv4_per_interface()), (interfaces, addresses));
    assert_eq!(found.architectures(), architectures);
    assert_eq!(found.details()["InstanceType"], name);
}

#[test]
fn every_type_has_what_karpenter_reads_unguarded() {
    for found in catalogue::types().values() {
        let details = found.details();
        let name = found.name();
        let card = details["NetworkInfo"]["NetworkCards"].get(found.default_network_card_index() as usize);
        assert!(card.is_some_and(|card| card["MaximumNetworkInterfaces"].is_u64()), "{name}");
        assert!(details["NetworkInfo"]["Ipv4AddressesPerInterface"].is_u64(), "{name}");
        assert!(found.vcpus() > 0 && found.memory_mib() > 0 && !found.architectures().is_empty(), "{name}");
        assert!(!found.usage_classes().is_empty(), "{name}");
    }
    assert!(catalogue::types().len() > 1300);
}

#[test]
fn every_type_fits_the_service_model() {
    let model = fake_ec2::model::Service::Ec2.model();
    let output = model.operations["DescribeInstanceTypes"].output.expect("the operation has an output");
    for found in catalogue::types().values() {
        let value = serde_json::json!({ "InstanceTypes": [found.details()] });
        assert_eq!(fake_ec2::protocol::misfits(model, output, &value), Vec::<String>::new(), "{}", found.name());
    }
}

#[test]
fn offerings_name_zones_and_types_that_exist() {
    for region in catalogue::regions().values() {
        assert!(region.zones().len() >= 2, "{}", region.name);
        assert!(region.offerings().is_sorted(), "{}", region.name);
        for offering in region.offerings() {
            assert!(catalogue::instance_type(offering.instance_type).is_some(), "{offering:?}");
            assert!(offering.zone.name.starts_with(region.name), "{offering:?}");
        }
    }
    assert_eq!(catalogue::regions().len(), 30);
    assert_eq!(catalogue::offerings("us-west-2").len(), 5070);
    assert_eq!(catalogue::offerings("nowhere-1"), &[]);
}

#[test]
fn the_offerings_of_one_type_are_found() {
    let region = catalogue::region("us-west-2").expect("the region is in the catalogue");
    let zones: Vec<_> = region.offerings_of("m5.large").iter().map(|offering| (offering.zone.name, offering.zone.id)).collect();
    let expected = [("us-west-2a", "usw2-az2"), ("us-west-2b", "usw2-az1"), ("us-west-2c", "usw2-az3"), ("us-west-2d", "usw2-az4")];
    assert_eq!(zones, expected);
    assert!(region.offerings_of("m5").is_empty());
}

#[rstest]
#[case("us-east-1", "m5.large", Some((96_000, false)))]
#[case("us-west-2", "m5.large", Some((96_000, true)))]
#[case("us-west-2", "t3.small", Some((20_800, true)))]
#[case("us-west-2", "t3.medium", Some((41_600, true)))]
#[case("eu-west-1", "m5.large", Some((107_040, true)))]
#[case("nowhere-1", "m5.large", None)]
#[case("us-east-1", "m5.huge", None)]
fn prices_say_whether_they_are_derived(#[case] region: &str, #[case] name: &str, #[case] expected: Option<(u64, bool)>) {
    let price = expected.map(|(micro, derived)| Price { per_hour: MicroUsd(micro), derived });
    assert_eq!(catalogue::on_demand_price(region, name), price);
}

#[test]
fn every_region_has_prices_and_spot_is_always_derived_and_cheaper() {
    for region in catalogue::regions().keys() {
        let on_demand = catalogue::on_demand_price(region, "m5.large").unwrap_or_else(|| panic!("{region} has a factor"));
        let spot = catalogue::spot_price_base(region, "m5.large").expect("what has a price has a Spot price");
        assert!(spot.derived && spot.per_hour < on_demand.per_hour, "{region}");
    }
}

#[test]
fn money_is_written_as_the_price_list_writes_it() {
    assert_eq!(MicroUsd(96_000).to_decimal(), "0.096000");
    assert_eq!(MicroUsd(12_345_678).to_string(), "$12.345678");
    assert_eq!(MicroUsd(20_800).permille(380), MicroUsd(7_904));
    assert_eq!(MicroUsd(1).permille(500), MicroUsd(1));
}

#[test]
fn every_file_says_where_it_comes_from() {
    for (name, provenance) in catalogue::provenance() {
        assert_eq!(provenance.licence, "Apache-2.0", "{name}");
        assert!(!provenance.source.is_empty() && !provenance.version.is_empty(), "{name}");
        assert!(provenance.date.parse::<jiff::civil::Date>().is_ok(), "{name}");
    }
}
