//! EC2.
//!
//! An answer without a body reads as an empty output or as an error, of which neither matters: the request was caught before.

use crate::catch::{Fixed, REGION, TOKEN, client};
use crate::members::Members;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use aws_sdk_ec2::types::*;

pub async fn call(fixed: &Fixed, operation: &str, m: &mut Members) {
    let client = client!(aws_sdk_ec2, fixed, REGION, idempotency_token_provider = TOKEN);
    match operation {
        "RunInstances" => run_instances(&client, m).await,
        "CreateFleet" => create_fleet(&client, m).await,
        "CreateLaunchTemplate" => create_launch_template(&client, m).await,
        "DeleteLaunchTemplate" => {
            let call = client.delete_launch_template().set_launch_template_id(m.text("LaunchTemplateId"));
            drop(call.set_launch_template_name(m.text("LaunchTemplateName")).send().await);
        }
        "CreateTags" => drop(client.create_tags().set_resources(m.texts("Resources")).set_tags(m.each("Tags", tag)).send().await),
        "TerminateInstances" => drop(client.terminate_instances().set_instance_ids(m.texts("InstanceIds")).send().await),
        "DescribePlacementGroups" => {
            let call = client.describe_placement_groups().set_filters(m.each("Filters", filter));
            drop(call.set_group_ids(m.texts("GroupIds")).set_group_names(m.texts("GroupNames")).send().await);
        }
        other => describe(&client, other, m).await,
    }
}

async fn describe(client: &Client, operation: &str, m: &mut Members) {
    let (filters, most, next) = (m.each("Filters", filter), m.whole("MaxResults"), m.text("NextToken"));
    macro_rules! send {
        ($method:ident $(, $set:ident = $value:expr)*) => {
            drop(client.$method().set_filters(filters).set_max_results(most).set_next_token(next)$(.$set($value))*.send().await)
        };
    }
    match operation {
        "DescribeInstanceTypes" => send!(describe_instance_types, set_dry_run = m.flag("DryRun")),
        "DescribeInstanceTypeOfferings" => {
            send!(describe_instance_type_offerings, set_dry_run = m.flag("DryRun"), set_location_type = m.named("LocationType"));
        }
        "DescribeSpotPriceHistory" => {
            let start = m.text("StartTime").map(|text| DateTime::from_str(&text, DateTimeFormat::DateTime).expect("a time"));
            let products = m.texts("ProductDescriptions");
            send!(describe_spot_price_history, set_start_time = start, set_product_descriptions = products);
        }
        "DescribeSubnets" => send!(describe_subnets, set_dry_run = m.flag("DryRun")),
        "DescribeSecurityGroups" => send!(describe_security_groups, set_dry_run = m.flag("DryRun")),
        "DescribeImages" => {
            let (owners, deprecated) = (m.texts("Owners"), m.flag("IncludeDeprecated"));
            send!(describe_images, set_owners = owners, set_include_deprecated = deprecated);
        }
        "DescribeCapacityReservations" => {
            send!(describe_capacity_reservations, set_capacity_reservation_ids = m.texts("CapacityReservationIds"));
        }
        "DescribeInstanceStatus" => send!(describe_instance_status),
        "DescribeInstances" => send!(describe_instances, set_instance_ids = m.texts("InstanceIds")),
        "DescribeLaunchTemplates" => send!(describe_launch_templates, set_launch_template_names = m.texts("LaunchTemplateNames")),
        other => panic!("ec2:{other} is not known here"),
    }
}

fn filter(m: &mut Members) -> Filter {
    Filter::builder().set_name(m.text("Name")).set_values(m.texts("Values")).build()
}

fn tag(m: &mut Members) -> Tag {
    Tag::builder().set_key(m.text("Key")).set_value(m.text("Value")).build()
}

fn tagged(m: &mut Members) -> TagSpecification {
    TagSpecification::builder().set_resource_type(m.named("ResourceType")).set_tags(m.each("Tags", tag)).build()
}

async fn run_instances(client: &Client, m: &mut Members) {
    let template = |m: &mut Members| {
        LaunchTemplateSpecification::builder()
            .set_launch_template_id(m.text("LaunchTemplateId"))
            .set_launch_template_name(m.text("LaunchTemplateName"))
            .set_version(m.text("Version"))
            .build()
    };
    let interface = |m: &mut Members| {
        InstanceNetworkInterfaceSpecification::builder()
            .set_network_card_index(m.whole("NetworkCardIndex"))
            .set_device_index(m.whole("DeviceIndex"))
            .set_interface_type(m.text("InterfaceType"))
            .set_subnet_id(m.text("SubnetId"))
            .build()
    };
    let call = client.run_instances().set_dry_run(m.flag("DryRun")).set_min_count(m.whole("MinCount")).set_max_count(m.whole("MaxCount"));
    let call = call.set_launch_template(m.one("LaunchTemplate", template)).set_instance_type(m.named("InstanceType"));
    let call = call.set_network_interfaces(m.each("NetworkInterfaces", interface));
    let call = call.set_tag_specifications(m.each("TagSpecifications", tagged)).set_client_token(m.text("ClientToken"));
    drop(call.send().await);
}

async fn create_fleet(client: &Client, m: &mut Members) {
    let capacity = |m: &mut Members| {
        TargetCapacitySpecificationRequest::builder()
            .set_default_target_capacity_type(m.named("DefaultTargetCapacityType"))
            .set_total_target_capacity(m.whole("TotalTargetCapacity"))
            .build()
    };
    let on_demand = |m: &mut Members| OnDemandOptionsRequest::builder().set_allocation_strategy(m.named("AllocationStrategy")).build();
    let spot = |m: &mut Members| SpotOptionsRequest::builder().set_allocation_strategy(m.named("AllocationStrategy")).build();
    let call = client.create_fleet().set_dry_run(m.flag("DryRun")).set_type(m.named("Type")).set_context(m.text("Context"));
    let call = call.set_launch_template_configs(m.each("LaunchTemplateConfigs", fleet_template));
    let call = call.set_target_capacity_specification(m.one("TargetCapacitySpecification", capacity));
    let call = call.set_on_demand_options(m.one("OnDemandOptions", on_demand)).set_spot_options(m.one("SpotOptions", spot));
    let call = call.set_tag_specifications(m.each("TagSpecifications", tagged)).set_client_token(m.text("ClientToken"));
    drop(call.send().await);
}

fn fleet_template(m: &mut Members) -> FleetLaunchTemplateConfigRequest {
    let template = |m: &mut Members| {
        FleetLaunchTemplateSpecificationRequest::builder()
            .set_launch_template_id(m.text("LaunchTemplateId"))
            .set_launch_template_name(m.text("LaunchTemplateName"))
            .set_version(m.text("Version"))
            .build()
    };
    let pool = |m: &mut Members| {
        FleetLaunchTemplateOverridesRequest::builder()
            .set_instance_type(m.named("InstanceType"))
            .set_subnet_id(m.text("SubnetId"))
            .set_availability_zone(m.text("AvailabilityZone"))
            .set_image_id(m.text("ImageId"))
            .set_priority(m.real("Priority"))
            .build()
    };
    FleetLaunchTemplateConfigRequest::builder()
        .set_launch_template_specification(m.one("LaunchTemplateSpecification", template))
        .set_overrides(m.each("Overrides", pool))
        .build()
}

async fn create_launch_template(client: &Client, m: &mut Members) {
    let call = client.create_launch_template().set_launch_template_name(m.text("LaunchTemplateName"));
    let call = call.set_launch_template_data(m.one("LaunchTemplateData", template_data));
    let call = call.set_tag_specifications(m.each("TagSpecifications", tagged)).set_client_token(m.text("ClientToken"));
    drop(call.send().await);
}

fn template_data(m: &mut Members) -> RequestLaunchTemplateData {
    let profile = |m: &mut Members| LaunchTemplateIamInstanceProfileSpecificationRequest::builder().set_name(m.text("Name")).build();
    let monitoring = |m: &mut Members| LaunchTemplatesMonitoringRequest::builder().set_enabled(m.flag("Enabled")).build();
    let placement = |m: &mut Members| LaunchTemplatePlacementRequest::builder().set_tenancy(m.named("Tenancy")).build();
    let enclaves = |m: &mut Members| LaunchTemplateEnclaveOptionsRequest::builder().set_enabled(m.flag("Enabled")).build();
    let tagged = |m: &mut Members| {
        let specification = LaunchTemplateTagSpecificationRequest::builder().set_resource_type(m.named("ResourceType"));
        specification.set_tags(m.each("Tags", tag)).build()
    };
    let reservation = |m: &mut Members| {
        LaunchTemplateCapacityReservationSpecificationRequest::builder()
            .set_capacity_reservation_preference(m.named("CapacityReservationPreference"))
            .build()
    };
    let metadata = |m: &mut Members| {
        LaunchTemplateInstanceMetadataOptionsRequest::builder()
            .set_http_endpoint(m.named("HttpEndpoint"))
            .set_http_protocol_ipv6(m.named("HttpProtocolIpv6"))
            .set_http_tokens(m.named("HttpTokens"))
            .set_http_put_response_hop_limit(m.whole("HttpPutResponseHopLimit"))
            .set_instance_metadata_tags(m.named("InstanceMetadataTags"))
            .build()
    };
    RequestLaunchTemplateData::builder()
        .set_image_id(m.text("ImageId"))
        .set_user_data(m.text("UserData"))
        .set_iam_instance_profile(m.one("IamInstanceProfile", profile))
        .set_block_device_mappings(m.each("BlockDeviceMappings", block_device))
        .set_network_interfaces(m.each("NetworkInterfaces", interface))
        .set_monitoring(m.one("Monitoring", monitoring))
        .set_placement(m.one("Placement", placement))
        .set_enclave_options(m.one("EnclaveOptions", enclaves))
        .set_tag_specifications(m.each("TagSpecifications", tagged))
        .set_capacity_reservation_specification(m.one("CapacityReservationSpecification", reservation))
        .set_metadata_options(m.one("MetadataOptions", metadata))
        .build()
}

fn block_device(m: &mut Members) -> LaunchTemplateBlockDeviceMappingRequest {
    let ebs = |m: &mut Members| {
        LaunchTemplateEbsBlockDeviceRequest::builder()
            .set_delete_on_termination(m.flag("DeleteOnTermination"))
            .set_encrypted(m.flag("Encrypted"))
            .set_iops(m.whole("Iops"))
            .set_kms_key_id(m.text("KmsKeyId"))
            .set_snapshot_id(m.text("SnapshotId"))
            .set_throughput(m.whole("Throughput"))
            .set_volume_initialization_rate(m.whole("VolumeInitializationRate"))
            .set_volume_size(m.whole("VolumeSize"))
            .set_volume_type(m.named("VolumeType"))
            .build()
    };
    LaunchTemplateBlockDeviceMappingRequest::builder().set_device_name(m.text("DeviceName")).set_ebs(m.one("Ebs", ebs)).build()
}

fn interface(m: &mut Members) -> LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
    let tracking = |m: &mut Members| {
        ConnectionTrackingSpecificationRequest::builder()
            .set_tcp_established_timeout(m.whole("TcpEstablishedTimeout"))
            .set_udp_stream_timeout(m.whole("UdpStreamTimeout"))
            .set_udp_timeout(m.whole("UdpTimeout"))
            .build()
    };
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .set_network_card_index(m.whole("NetworkCardIndex"))
        .set_device_index(m.whole("DeviceIndex"))
        .set_interface_type(m.text("InterfaceType"))
        .set_groups(m.texts("Groups"))
        .set_associate_public_ip_address(m.flag("AssociatePublicIpAddress"))
        .set_ipv4_prefix_count(m.whole("Ipv4PrefixCount"))
        .set_connection_tracking_specification(m.one("ConnectionTrackingSpecification", tracking))
        .build()
}
