//! Requests are read as each protocol writes them.

use fake_ec2::model::Service;
use rstest::rstest;
use serde_json::{Value, json};

use super::{form, read, request};

const EC2: &str = "Version=2016-11-15&Action=";
const SQS: &str = "Version=2012-11-05&Action=";
const IAM: &str = "Version=2010-05-08&Action=";

#[rstest]
#[case::capitalised_location_name(
    EC2, "CreateTags&ResourceId.1=i-1&ResourceId.2=i-2&Tag.1.Key=a&Tag.1.Value=",
    json!({"Resources": ["i-1", "i-2"], "Tags": [{"Key": "a", "Value": ""}]})
)]
#[case::member_name_without_a_location_name(
    EC2, "CreateFleet&LaunchTemplateConfigs.1.Overrides.1.InstanceType=m5.large&TargetCapacitySpecification.TotalTargetCapacity=1",
    json!({"LaunchTemplateConfigs": [{"Overrides": [{"InstanceType": "m5.large"}]}], "TargetCapacitySpecification": {"TotalTargetCapacity": 1}})
)]
#[case::singular_list_names(
    EC2, "CreateLaunchTemplate&LaunchTemplateName=n&LaunchTemplateData.ImageId=ami-1&TagSpecification.1.ResourceType=launch-template&TagSpecification.1.Tag.1.Key=k",
    json!({"LaunchTemplateName": "n", "LaunchTemplateData": {"ImageId": "ami-1"},
           "TagSpecifications": [{"ResourceType": "launch-template", "Tags": [{"Key": "k"}]}]})
)]
#[case::items_in_the_order_of_their_numbers(
    EC2, "DescribeInstances&InstanceId.10=c&InstanceId.9=b&InstanceId.1=a",
    json!({"InstanceIds": ["a", "b", "c"]})
)]
#[case::filters(
    EC2, "DescribeSubnets&Filter.1.Name=tag%3Akarpenter.sh%2Fdiscovery&Filter.1.Value.1=a+b&MaxResults=500&DryRun=false",
    json!({"Filters": [{"Name": "tag:karpenter.sh/discovery", "Values": ["a b"]}], "MaxResults": 500, "DryRun": false})
)]
#[case::timestamps(
    EC2, "DescribeSpotPriceHistory&StartTime=2026-11-20T17%3A00%3A00Z",
    json!({"StartTime": "2026-11-20T17:00:00.000Z"})
)]
#[case::query_lists(
    IAM, "CreateInstanceProfile&InstanceProfileName=p&Tags.member.1.Key=a&Tags.member.1.Value=b",
    json!({"InstanceProfileName": "p", "Tags": [{"Key": "a", "Value": "b"}]})
)]
#[case::empty_query_lists(IAM, "CreateInstanceProfile&InstanceProfileName=p&Tags=", json!({"InstanceProfileName": "p", "Tags": []}))]
#[case::flat_maps_of_sqs(
    SQS, "CreateQueue&QueueName=q&Attribute.1.Name=VisibilityTimeout&Attribute.1.Value=20&Tag.1.Key=a&Tag.1.Value=b",
    json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "20"}, "tags": {"a": "b"}})
)]
#[case::flat_lists_of_sqs(
    SQS, "ReceiveMessage&QueueUrl=http%3A%2F%2Fh%2F1%2Fq&AttributeName.1=All&MessageAttributeName.1=x&WaitTimeSeconds=20",
    json!({"QueueUrl": "http://h/1/q", "AttributeNames": ["All"], "MessageAttributeNames": ["x"], "WaitTimeSeconds": 20})
)]
fn forms_are_read(#[case] head: &str, #[case] rest: &str, #[case] expected: Value) {
    let (_, _, parsed) = read(&form(&format!("{head}{rest}"))).expect("the form is valid");
    assert_eq!(Value::Object(parsed.input), expected);
    assert_eq!(parsed.unknown, Vec::<String>::new());
}

#[rstest]
#[case("DescribeVpcs&Fun=1&Filter.1.Nmae=x&Filter.x=y&MaxResults.1=z", &["Filter.1.Nmae", "Filter.x", "Fun", "MaxResults.1"])]
#[case("DescribeVpcs&VpcId.1.a.b=1", &["VpcId.1.a.b"])]
fn parameters_that_the_model_does_not_know_are_kept(#[case] rest: &str, #[case] expected: &[&str]) {
    let (_, _, mut parsed) = read(&form(&format!("{EC2}{rest}"))).expect("the form is valid");
    parsed.unknown.sort();
    assert_eq!(parsed.unknown, expected);
}

#[rstest]
#[case::no_such_action(EC2, "DescribeUnicorns", "InvalidAction", 400)]
#[case::not_done(EC2, "AllocateAddress", "UnsupportedOperation", 400)]
#[case::no_action(EC2, "", "MissingAction", 400)]
#[case::missing(EC2, "CreateTags&Tag.1.Key=a", "MissingParameter", 400)]
#[case::bad_integer(EC2, "DescribeVpcs&MaxResults=ten", "InvalidParameterValue", 400)]
#[case::integer_out_of_range(EC2, "DescribeVpcs&MaxResults=2147483648", "InvalidParameterValue", 400)]
#[case::bad_boolean(EC2, "DescribeVpcs&DryRun=yes", "InvalidParameterValue", 400)]
#[case::query_no_such_action(IAM, "Fly", "InvalidAction", 400)]
#[case::query_missing(IAM, "GetRole", "ValidationError", 400)]
#[case::query_bad_integer(IAM, "ListRoles&MaxItems=x", "MalformedInput", 400)]
fn bad_forms_are_refused_in_the_services_words(#[case] head: &str, #[case] rest: &str, #[case] code: &str, #[case] status: u16) {
    let error = read(&form(&format!("{head}{rest}"))).expect_err("the form is not valid");
    assert_eq!((error.code.as_str(), error.status), (code, status), "{}", error.message);
}

#[rstest]
#[case::not_json("AmazonSSM.GetParameter", "{", "SerializationException")]
#[case::not_an_object("AmazonSSM.GetParameter", "[]", "SerializationException")]
#[case::wrong_type("AmazonSSM.GetParameter", r#"{"Name": 1}"#, "SerializationException")]
#[case::missing("AmazonSSM.GetParameter", "{}", "ValidationException")]
#[case::null_is_missing("AmazonSSM.GetParameter", r#"{"Name": null}"#, "ValidationException")]
#[case::no_such_operation("AmazonSSM.Fly", "{}", "UnknownOperationException")]
#[case::not_done("AmazonSSM.SendCommand", "{}", "UnsupportedOperation")]
#[case::sqs_missing("AmazonSQS.GetQueueUrl", "{}", "MissingParameter")]
fn bad_json_is_refused_in_the_services_words(#[case] target: &str, #[case] body: &str, #[case] code: &str) {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
    let error = read(&request("POST", "/", &headers, body.as_bytes())).expect_err("the request is not valid");
    assert_eq!((error.code.as_str(), error.status), (code, 400), "{}", error.message);
}

#[test]
fn json_that_nests_too_deep_is_refused() {
    let mut filters = json!({"Key": "Path"});
    for _ in 0..100 {
        filters = json!([filters]);
    }
    let body = json!({"Path": "/", "ParameterFilters": filters}).to_string();
    let headers = [("x-amz-target", "AmazonSSM.GetParametersByPath")];
    let error = read(&request("POST", "/", &headers, body.as_bytes())).expect_err("too deep");
    assert_eq!(error.code, "SerializationException");
}

#[rstest]
#[case("GET", "/clusters/a%2Fb", "DescribeCluster", json!({"name": "a/b"}))]
#[case("DELETE", "/clusters/c/", "DeleteCluster", json!({"name": "c"}))]
#[case("GET", "/clusters?maxResults=7&include=all&include=x", "ListClusters", json!({"maxResults": 7, "include": ["all", "x"]}))]
fn rest_requests_are_read_from_path_and_query(#[case] method: &str, #[case] url: &str, #[case] operation: &str, #[case] input: Value) {
    let (service, _, parsed) = read(&request(method, url, &[], b"")).expect("the request is valid");
    assert_eq!((service, parsed.operation, Value::Object(parsed.input)), (Service::Eks, operation, input));
}

#[rstest]
#[case("GET", "/clusters/c/addons", "UnsupportedOperation", 400)]
#[case("PATCH", "/clusters/c", "UnknownOperationException", 404)]
#[case("GET", "/clusters?maxResults=many", "SerializationException", 400)]
fn bad_rest_requests_are_refused(#[case] method: &str, #[case] url: &str, #[case] code: &str, #[case] status: u16) {
    let scope = "AWS4-HMAC-SHA256 Credential=K/20261120/us-west-2/eks/aws4_request, SignedHeaders=host, Signature=0";
    let error = read(&request(method, url, &[("authorization", scope)], b"")).expect_err("the request is not valid");
    assert_eq!((error.code.as_str(), error.status), (code, status));
}

#[rstest]
#[case::scope(&[("authorization", "AWS4-HMAC-SHA256 Credential=K/20261120/eu-west-1/ec2/aws4_request,SignedHeaders=host,Signature=0")], "", Service::Ec2, Some("eu-west-1"))]
#[case::host(&[("host", "iam.amazonaws.com")], "", Service::Iam, None)]
#[case::host_with_region(&[("host", "ec2.us-east-2.amazonaws.com:443")], "", Service::Ec2, Some("us-east-2"))]
#[case::version(&[], "Version=2011-06-15&", Service::Sts, None)]
#[case::older_version(&[], "Version=2015-10-01&", Service::Ec2, None)]
fn the_service_is_found(#[case] headers: &[(&str, &str)], #[case] version: &str, #[case] service: Service, #[case] region: Option<&str>) {
    let action = match service {
        Service::Ec2 => "DescribeRegions",
        Service::Iam => "ListRoles",
        _ => "GetCallerIdentity",
    };
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    let body = format!("{version}Action={action}");
    let (found, found_region, parsed) = read(&request("POST", "/", &headers, body.as_bytes())).expect("the request is valid");
    assert_eq!((found, found_region.as_deref(), parsed.operation), (service, region, action));
}

#[test]
fn a_presigned_request_is_read_without_its_signature() {
    let url = "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
               &X-Amz-Credential=K%2F20261120%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date=20261120T170000Z&X-Amz-Expires=60\
               &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=00";
    let (service, region, parsed) = read(&request("GET", url, &[], b"")).expect("the request is valid");
    assert_eq!((service, region.as_deref(), parsed.operation), (Service::Sts, Some("us-west-2"), "GetCallerIdentity"));
    assert_eq!(parsed.unknown, Vec::<String>::new());
}

#[test]
fn a_queue_is_known_by_its_address() {
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("host", "h:1")];
    let body = b"Version=2012-11-05&Action=PurgeQueue";
    let (_, _, parsed) = read(&request("POST", "/123456789012/q", &headers, body)).expect("the request is valid");
    assert_eq!(Value::Object(parsed.input), json!({"QueueUrl": "http://h:1/123456789012/q"}));
}
