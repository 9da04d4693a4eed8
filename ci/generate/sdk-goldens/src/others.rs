//! The small services.
//!
//! An answer without a body reads as an empty output or as an error, of which neither matters: the request was caught before.

use crate::catch::{Fixed, PRICING_REGION, REGION, client};
use crate::members::Members;

pub async fn iam(fixed: &Fixed, operation: &str, m: &mut Members) {
    use aws_sdk_iam::types::Tag;
    let client = client!(aws_sdk_iam, fixed, REGION);
    let (name, role) = ("InstanceProfileName", "RoleName");
    match operation {
        "GetInstanceProfile" => drop(client.get_instance_profile().set_instance_profile_name(m.text(name)).send().await),
        "ListInstanceProfiles" => drop(
            client
                .list_instance_profiles()
                .set_path_prefix(m.text("PathPrefix"))
                .set_marker(m.text("Marker"))
                .set_max_items(m.whole("MaxItems"))
                .send()
                .await,
        ),
        "CreateInstanceProfile" => {
            let tag =
                |m: &mut Members| Tag::builder().set_key(m.text("Key")).set_value(m.text("Value")).build().expect("a key and a value");
            let call = client.create_instance_profile().set_instance_profile_name(m.text(name)).set_path(m.text("Path"));
            drop(call.set_tags(m.each("Tags", tag)).send().await);
        }
        "DeleteInstanceProfile" => drop(client.delete_instance_profile().set_instance_profile_name(m.text(name)).send().await),
        "AddRoleToInstanceProfile" => {
            let call = client.add_role_to_instance_profile().set_instance_profile_name(m.text(name));
            drop(call.set_role_name(m.text(role)).send().await);
        }
        "RemoveRoleFromInstanceProfile" => {
            let call = client.remove_role_from_instance_profile().set_instance_profile_name(m.text(name));
            drop(call.set_role_name(m.text(role)).send().await);
        }
        other => panic!("iam:{other} is not known here"),
    }
}

pub async fn sqs(fixed: &Fixed, operation: &str, m: &mut Members) {
    let client = client!(aws_sdk_sqs, fixed, REGION);
    match operation {
        "GetQueueUrl" => drop(client.get_queue_url().set_queue_name(m.text("QueueName")).send().await),
        #[expect(deprecated, reason = "upstream asks with the older member")]
        "ReceiveMessage" => {
            let names = m.texts("AttributeNames").map(|names| names.iter().map(|name| name.as_str().into()).collect());
            let call = client.receive_message().set_queue_url(m.text("QueueUrl")).set_attribute_names(names);
            let call = call.set_message_attribute_names(m.texts("MessageAttributeNames"));
            let call = call.set_max_number_of_messages(m.whole("MaxNumberOfMessages")).set_visibility_timeout(m.whole("VisibilityTimeout"));
            drop(call.set_wait_time_seconds(m.whole("WaitTimeSeconds")).send().await);
        }
        "DeleteMessage" => {
            let call = client.delete_message().set_queue_url(m.text("QueueUrl"));
            drop(call.set_receipt_handle(m.text("ReceiptHandle")).send().await);
        }
        other => panic!("sqs:{other} is not known here"),
    }
}

pub async fn ssm(fixed: &Fixed, operation: &str, m: &mut Members) {
    let client = client!(aws_sdk_ssm, fixed, REGION);
    match operation {
        "GetParameter" => drop(client.get_parameter().set_name(m.text("Name")).send().await),
        other => panic!("ssm:{other} is not known here"),
    }
}

pub async fn eks(fixed: &Fixed, operation: &str, m: &mut Members) {
    let client = client!(aws_sdk_eks, fixed, REGION);
    match operation {
        "DescribeCluster" => drop(client.describe_cluster().set_name(m.text("name")).send().await),
        other => panic!("eks:{other} is not known here"),
    }
}

pub async fn zonal_shift(fixed: &Fixed, operation: &str, m: &mut Members) {
    let client = client!(aws_sdk_arczonalshift, fixed, REGION);
    match operation {
        "GetManagedResource" => drop(client.get_managed_resource().set_resource_identifier(m.text("resourceIdentifier")).send().await),
        other => panic!("arc-zonal-shift:{other} is not known here"),
    }
}

pub async fn pricing(fixed: &Fixed, operation: &str, m: &mut Members) {
    use aws_sdk_pricing::types::Filter;
    let client = client!(aws_sdk_pricing, fixed, PRICING_REGION);
    match operation {
        "GetProducts" => {
            let filter = |m: &mut Members| {
                let filter = Filter::builder().set_type(m.named("Type")).set_field(m.text("Field")).set_value(m.text("Value"));
                filter.build().expect("type, field and value")
            };
            let call = client.get_products().set_service_code(m.text("ServiceCode")).set_filters(m.each("Filters", filter));
            drop(call.set_max_results(m.whole("MaxResults")).set_next_token(m.text("NextToken")).send().await);
        }
        other => panic!("pricing:{other} is not known here"),
    }
}
