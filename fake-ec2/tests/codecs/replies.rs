//! Replies and errors as bytes; the forms are those that AWS documents for each protocol.

use fake_ec2::Response;
use fake_ec2::model::{Protocol, Service};
use fake_ec2::protocol::{self, AwsError, Dialect};
use rstest::rstest;
use serde_json::{Value, json};

fn success(service: Service, operation: &str, output: &Value) -> Response {
    let model = service.model();
    let dialect = Dialect { protocol: model.protocol, query_mode: false };
    protocol::success(service, dialect, &model.operations[operation], "r-1", output)
}

fn body(response: &Response) -> &str {
    std::str::from_utf8(response.body()).expect("replies are UTF-8")
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

#[rstest]
#[case::lists_and_instants(
    Service::Ec2, "DescribeSpotPriceHistory",
    json!({"SpotPriceHistory": [{"AvailabilityZone": "us-west-2a", "SpotPrice": "0.1", "Timestamp": "2026-11-20T17:00:00.000Z"}], "NextToken": null}),
    "<DescribeSpotPriceHistoryResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>\
     <spotPriceHistorySet><item><availabilityZone>us-west-2a</availabilityZone><spotPrice>0.1</spotPrice>\
     <timestamp>2026-11-20T17:00:00.000Z</timestamp></item></spotPriceHistorySet></DescribeSpotPriceHistoryResponse>"
)]
#[case::nothing_to_say(
    Service::Ec2, "CreateTags", json!({}),
    "<CreateTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId><return>true</return></CreateTagsResponse>"
)]
#[case::query(
    Service::Sts, "GetCallerIdentity", json!({"Account": "1", "Arn": "a&b"}),
    "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Account>1</Account>\
     <Arn>a&amp;b</Arn></GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
)]
#[case::query_members_and_whole_seconds(
    Service::Iam, "ListInstanceProfiles",
    json!({"InstanceProfiles": [{"InstanceProfileName": "p", "CreateDate": "2026-11-20T17:00:00.500Z", "Roles": []}], "IsTruncated": false}),
    "<ListInstanceProfilesResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><ListInstanceProfilesResult><InstanceProfiles><member>\
     <InstanceProfileName>p</InstanceProfileName><CreateDate>2026-11-20T17:00:00Z</CreateDate><Roles></Roles></member></InstanceProfiles>\
     <IsTruncated>false</IsTruncated></ListInstanceProfilesResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></ListInstanceProfilesResponse>"
)]
fn outputs_become_xml(#[case] service: Service, #[case] operation: &str, #[case] output: Value, #[case] expected: &str) {
    assert_eq!(body(&success(service, operation, &output)), format!("{HEAD}{expected}"));
}

#[rstest]
#[case(Service::Sqs, "GetQueueUrl", json!({"QueueUrl": "u"}), r#"{"QueueUrl":"u"}"#, "application/x-amz-json-1.0")]
#[case(Service::Sqs, "DeleteMessage", json!({}), "", "application/x-amz-json-1.0")]
#[case(Service::Ssm, "GetParameter", json!({"Parameter": {"LastModifiedDate": "2025-11-20T17:00:00.000Z"}}), r#"{"Parameter":{"LastModifiedDate":1763658000}}"#, "application/x-amz-json-1.1")]
#[case(Service::Eks, "ListClusters", json!({"clusters": ["c"]}), r#"{"clusters":["c"]}"#, "application/json")]
fn outputs_become_json(
    #[case] service: Service,
    #[case] operation: &str,
    #[case] output: Value,
    #[case] expected: &str,
    #[case] content_type: &str,
) {
    let response = success(service, operation, &output);
    assert_eq!(body(&response), expected);
    assert_eq!(response.headers()["content-type"], content_type);
    assert_eq!(response.headers()["x-amzn-requestid"], "r-1");
}

#[rstest]
#[case(
    Service::Ec2,
    "<Response><Errors><Error><Code>Nope</Code><Message>a &lt; b</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
)]
#[case(
    Service::Iam,
    "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>Nope</Code>\
     <Message>a &lt; b</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
)]
#[case(Service::Ssm, r#"{"__type":"Nope","message":"a < b"}"#)]
#[case(Service::Eks, r#"{"message":"a < b"}"#)]
fn errors_have_the_protocols_shape(#[case] service: Service, #[case] expected: &str) {
    let dialect = Dialect { protocol: service.model().protocol, query_mode: false };
    let response = protocol::failure(Some(service), dialect, "r-1", &AwsError::new("Nope", "a < b"));
    assert_eq!(body(&response).trim_start_matches(HEAD), expected);
    assert_eq!(response.status(), 400);
    let rest = dialect.protocol == Protocol::RestJson;
    assert_eq!(response.headers().contains_key("x-amzn-errortype"), rest);
}

#[test]
fn what_xml_cannot_hold_is_replaced() {
    let output = json!({"Account": "a\u{1}b\rc\td\u{FFFF}"});
    let response = success(Service::Sts, "GetCallerIdentity", &output);
    assert!(body(&response).contains("<Account>a\u{FFFD}b&#xD;c\td\u{FFFD}</Account>"), "{}", body(&response));
}

#[rstest]
#[case(json!({"Vpcs": [{"VpcID": "v"}]}), ".Vpcs[0].VpcID")]
#[case(json!({"Vpcs": [{"VpcId": 1}]}), ".Vpcs[0].VpcId")]
#[case(json!({"Vpcs": {}}), ".Vpcs")]
#[case(json!([]), "")]
fn an_output_that_does_not_fit_is_loud(#[case] output: Value, #[case] place: &str) {
    let response = success(Service::Ec2, "DescribeVpcs", &output);
    assert_eq!(response.status(), 500);
    assert!(body(&response).contains(&format!("does not fit its model: {place}: ")), "{}", body(&response));
}
