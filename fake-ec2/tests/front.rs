//! The cloud's front: tickets, ids, dates, limits, signatures. What the services do is tested elsewhere; here they answer
//! GetCallerIdentity.

use bytes::Bytes;
use fake_ec2::config::AccessKey;
use fake_ec2::model::Service;
use fake_ec2::{Cloud, Config, Limits, Out, Request, Response, Ticket};
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;

fn now() -> Timestamp {
    "2026-11-20T17:00:00Z".parse().expect("an instant")
}

fn form(body: &str) -> Request {
    let request = http::Request::builder().method("POST").uri("/").header("content-type", "application/x-www-form-urlencoded");
    request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a valid request")
}

const WHO: &str = "Action=GetCallerIdentity&Version=2011-06-15";

fn ask(cloud: &mut Cloud, request: Request) -> Response {
    let ticket = cloud.submit(now(), request);
    let mut replies = cloud.advance(now()).into_iter();
    match (replies.next(), replies.next()) {
        (Some(Out::Reply(answered, response)), None) if answered == ticket => response,
        (first, second) => panic!("one reply to {ticket:?}, got {first:?} {second:?}"),
    }
}

fn body(response: &Response) -> String {
    String::from_utf8(response.body().to_vec()).expect("replies are UTF-8")
}

#[test]
fn replies_carry_the_virtual_date_and_come_in_the_order_of_requests() {
    let mut cloud = Cloud::new(Config::default());
    let tickets = [cloud.submit(now(), form(WHO)), cloud.submit(now(), form("Action=Fly&Version=2011-06-15"))];
    assert_eq!(tickets, [Ticket(0), Ticket(1)]);
    assert!(cloud.next_due() <= Some(now()));
    let replies = cloud.advance(now());
    let answered: Vec<_> = replies
        .iter()
        .map(|out| match out {
            Out::Reply(ticket, response) => (*ticket, response.status().as_u16(), response.headers()["date"].to_str().unwrap_or_default()),
            other => panic!("a whole reply, not {other:?}"),
        })
        .collect();
    assert_eq!(answered, [(Ticket(0), 200, "Fri, 20 Nov 2026 17:00:00 GMT"), (Ticket(1), 400, "Fri, 20 Nov 2026 17:00:00 GMT")]);
    assert!(cloud.advance(now()).is_empty());
}

#[test]
fn a_cancelled_request_is_not_answered() {
    let mut cloud = Cloud::new(Config::default());
    let ticket = cloud.submit(now(), form(WHO));
    cloud.cancel(now(), ticket);
    assert!(cloud.advance(now()).is_empty());
}

#[test]
fn ids_are_of_the_seed_and_the_request() {
    let ids = |seed| {
        let mut cloud = Cloud::new(Config { seed, ..Config::default() });
        [(); 2].map(|()| ask(&mut cloud, form(WHO)).headers()["x-amzn-requestid"].to_str().unwrap_or_default().to_owned())
    };
    let ([first, second], [other, _]) = (ids(1), ids(2));
    assert_eq!(ids(1), [first.clone(), second.clone()]);
    assert!(first != second && first != other);
    assert_eq!(first.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
}

#[test]
fn unknown_parameters_are_counted() {
    let mut cloud = Cloud::new(Config::default());
    for _ in 0..2 {
        ask(&mut cloud, form(&format!("{WHO}&Fun=1")));
    }
    let counted: Vec<_> = cloud.unknown_parameters().iter().collect();
    assert_eq!(counted, [(&(Service::Sts, "GetCallerIdentity", "Fun".to_owned()), &2)]);
}

#[rstest]
#[case::too_large(Limits { body_bytes: 10, ..Limits::default() }, form(WHO), 413, "RequestEntityTooLarge")]
#[case::too_many(Limits { parameters: 1, ..Limits::default() }, form(WHO), 400, "MalformedInput")]
#[case::no_service(Limits::default(), form("a=b"), 403, "MissingAuthenticationToken")]
#[case::not_utf8(Limits::default(), form("Action=%FF&Version=2011-06-15"), 400, "MalformedInput")]
fn what_is_no_call_is_refused_in_xml(#[case] limits: Limits, #[case] request: Request, #[case] status: u16, #[case] code: &str) {
    let mut cloud = Cloud::new(Config { limits, ..Config::default() });
    let response = ask(&mut cloud, request);
    assert_eq!(response.status().as_u16(), status, "{}", body(&response));
    assert!(body(&response).contains(&format!("<Code>{code}</Code>")), "{}", body(&response));
}

/// A service that is not here says so, and which are, in its client's protocol.
#[rstest]
#[case::query("cloudformation", &[("content-type", "application/x-www-form-urlencoded")], "Action=ListStacks&Version=2010-05-15")]
#[case::balancers("elasticloadbalancing", &[("content-type", "application/x-www-form-urlencoded")], "Action=DescribeLoadBalancers&Version=2015-12-01")]
#[case::rest_xml("s3", &[], "")]
#[case::json("kms", &[("x-amz-target", "TrentService.ListKeys"), ("content-type", "application/x-amz-json-1.1")], "{}")]
#[case::json_too("logs", &[("x-amz-target", "Logs_20140328.DescribeLogGroups"), ("content-type", "application/x-amz-json-1.1")], "{}")]
#[case::rest_json("fis", &[], "")]
fn a_service_that_is_not_served_is_named(#[case] service: &str, #[case] headers: &[(&str, &str)], #[case] sent: &str) {
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDANN/20261120/us-west-2/{service}/aws4_request, SignedHeaders=host, Signature=00");
    let signed = http::Request::builder().header("authorization", scope).header("x-amz-date", "20261120T170000Z");
    let by_host = http::Request::builder().header("host", format!("{service}.us-west-2.amazonaws.com"));
    for (request, named) in [(signed, true), (by_host, !headers.iter().any(|(name, _)| *name == "x-amz-target"))] {
        // `/clusters` is something of EKS's.
        let request = headers.iter().fold(request.method("POST").uri("/clusters"), |request, (name, value)| request.header(*name, *value));
        let response =
            ask(&mut Cloud::new(Config::default()), request.body(Bytes::copy_from_slice(sent.as_bytes())).expect("a valid request"));
        assert_eq!(refusal(&response), ("UnsupportedOperation".to_owned(), 400), "{}", body(&response));
        let json = serde_json::from_str::<serde_json::Value>(&body(&response)).is_ok();
        assert_eq!(json, matches!(service, "kms" | "logs" | "fis"), "{}", body(&response));
        let says = |words: &str| body(&response).contains(words);
        assert!((!named || says(&format!("service {service} is not served"))) && says("ec2, iam, sts"), "{}", body(&response));
    }
}

/// A request of each protocol: the service's signing name, what goes into its head, and a body that is right.
fn sent(service: &str, body: &str) -> Request {
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDANN/20261120/us-west-2/{service}/aws4_request, SignedHeaders=host, Signature=00");
    let request = http::Request::builder().header("authorization", scope).header("x-amz-date", "20261120T170000Z");
    let request = match service {
        "ec2" | "iam" => request.method("POST").uri("/").header("content-type", "application/x-www-form-urlencoded"),
        "sqs" => request
            .method("POST")
            .uri("/")
            .header("x-amz-target", "AmazonSQS.ListQueues")
            .header("content-type", "application/x-amz-json-1.0"),
        "ssm" => request
            .method("POST")
            .uri("/")
            .header("x-amz-target", "AmazonSSM.GetParameter")
            .header("content-type", "application/x-amz-json-1.1"),
        _ => request.method("POST").uri("/clusters").header("content-type", "application/json"),
    };
    request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a valid request")
}

/// Code and status of an error, whatever the protocol, and whether the body is in the protocol's form.
fn refusal(response: &Response) -> (String, u16) {
    let text = body(response);
    let code = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => {
            let header = response.headers().get("x-amzn-errortype").and_then(|code| code.to_str().ok()).map(str::to_owned);
            let code = json["__type"].as_str().map(str::to_owned).or(header).unwrap_or_default();
            code.rsplit('#').next().unwrap_or_default().to_owned()
        }
        Err(_) => text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default().to_owned(),
    };
    assert!(!text.contains("<html"), "{text}");
    (code, response.status().as_u16())
}

const ROLES: &str = "Action=ListRoles&Version=2010-05-08";
const VPCS: &str = "Action=DescribeVpcs&Version=2016-11-15";

/// What is no good request, by protocol, with the protocol's own word for it.
#[rstest]
// Forms and JSON that are none.
#[case::form_not_utf8("ec2", "Action=DescribeVpcs&Version=2016-11-15&VpcId.1=%FF", "InvalidRequest", 400)]
#[case::form_not_utf8_query("iam", "Action=GetRole&RoleName=%C3%28&Version=2010-05-08", "MalformedInput", 400)]
#[case::no_action("ec2", "Version=2016-11-15", "MissingAction", 400)]
#[case::no_such_action("ec2", "Action=FlyAway&Version=2016-11-15", "InvalidAction", 400)]
#[case::no_such_action_query("iam", "Action=FlyAway&Version=2010-05-08", "InvalidAction", 400)]
#[case::not_done("ec2", "Action=AllocateAddress&Version=2016-11-15", "UnsupportedOperation", 400)]
#[case::missing("iam", "Action=GetRole&Version=2010-05-08", "ValidationError", 400)]
#[case::missing_ec2("ec2", "Action=CreateSnapshot&Version=2016-11-15", "UnsupportedOperation", 400)]
#[case::no_number("ec2", "Action=RunInstances&Version=2016-11-15&MinCount=two&MaxCount=3", "InvalidParameterValue", 400)]
#[case::no_number_query("iam", "Action=ListRoles&Version=2010-05-08&MaxItems=many", "MalformedInput", 400)]
#[case::index_too_large("ec2", "Action=DescribeInstances&Version=2016-11-15&InstanceId.99999999999=i-1", "InvalidParameterValue", 400)]
#[case::index_too_large_below(
    "ec2",
    "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=a&Filter.1.Value.4294967296=b",
    "InvalidParameterValue",
    400
)]
#[case::index_too_large_query("iam", "Action=TagRole&Version=2010-05-08&RoleName=r&Tags.member.99999999999.Key=a", "MalformedInput", 400)]
#[case::no_such_value(
    "ec2",
    "Action=CreateVolume&Version=2016-11-15&AvailabilityZone=us-west-2a&Size=8&VolumeType=gp9",
    "InvalidParameterValue",
    400
)]
#[case::no_such_value_below(
    "ec2",
    "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&MetadataOptions.HttpTokens=maybe",
    "InvalidParameterValue",
    400
)]
#[case::no_such_value_query("iam", "Action=ListPolicies&Version=2010-05-08&Scope=Moon", "ValidationError", 400)]
#[case::too_long("iam", &format!("Action=GetRole&Version=2010-05-08&RoleName={}", "a".repeat(65)), "ValidationError", 400)]
#[case::too_many_items("iam", "Action=ListRoles&Version=2010-05-08&MaxItems=1001", "ValidationError", 400)]
#[case::too_long_below("iam", &format!("Action=TagRole&Version=2010-05-08&RoleName=r&Tags.member.1.Key={}&Tags.member.1.Value=b", "a".repeat(129)), "ValidationError", 400)]
#[case::cut_json("sqs", r#"{"QueueNamePrefix": "a"#, "SerializationException", 400)]
#[case::not_an_object("sqs", r#"["a"]"#, "SerializationException", 400)]
#[case::wrong_kind("ssm", r#"{"Name": {"a": 1}}"#, "SerializationException", 400)]
#[case::missing_json("ssm", "{}", "ValidationException", 400)]
#[case::cut_rest("eks", r#"{"name": "#, "SerializationException", 400)]
#[case::missing_rest("eks", r#"{"name": "a"}"#, "InvalidParameterException", 400)]
#[case::deep("sqs", &format!("{}1{}", r#"{"tags":"#.repeat(200), "}".repeat(200)), "SerializationException", 400)]
fn a_bad_body_is_refused_in_the_protocols_words(#[case] service: &str, #[case] text: &str, #[case] code: &str, #[case] status: u16) {
    let response = ask(&mut Cloud::new(Config::default()), sent(service, text));
    assert_eq!(refusal(&response), (code.to_owned(), status), "{}", body(&response));
}

/// A body that is too large, that was cut, or that never came to its end, as the server tells the cloud.
#[rstest]
#[case::ec2("ec2", VPCS)]
#[case::query("iam", ROLES)]
#[case::json("sqs", "{}")]
#[case::rest("eks", r#"{"name": "a"}"#)]
fn a_body_that_did_not_come_is_no_request(#[case] service: &str, #[case] text: &str) {
    let small = Config { limits: Limits { body_bytes: 5, ..Limits::default() }, ..Config::default() };
    if text.len() > 5 {
        assert_eq!(refusal(&ask(&mut Cloud::new(small), sent(service, text))), ("RequestEntityTooLarge".to_owned(), 413));
    }
    for (why, code, status) in
        [("too-large", "RequestEntityTooLarge", 413), ("cut", "RequestTimeout", 408), ("slow", "RequestTimeout", 408)]
    {
        let mut request = sent(service, "");
        request.headers_mut().insert(fake_ec2::cloud::UNREADABLE, why.parse().expect("a valid header"));
        assert_eq!(refusal(&ask(&mut Cloud::new(Config::default()), request)), (code.to_owned(), status), "{service} {why}");
    }
}

/// Signatures that are none, of strangers, of another secret, of another time; regions that are none.
#[rstest]
#[case::garbage("ec2", VPCS, |value: &str| value.replace("AWS4-HMAC-SHA256", "Basic"), "IncompleteSignature", 400)]
#[case::garbage_query("iam", ROLES, |value: &str| value.replace("AWS4-HMAC-SHA256", "Basic"), "IncompleteSignature", 400)]
#[case::garbage_json("sqs", "{}", |value: &str| value.replace("AWS4-HMAC-SHA256 ", ""), "IncompleteSignatureException", 400)]
#[case::no_signed_headers("eks", "{}", |value: &str| value.replace("SignedHeaders=host, ", ""), "IncompleteSignatureException", 400)]
#[case::short_scope("ec2", VPCS, |value: &str| value.replace("/us-west-2", ""), "IncompleteSignature", 400)]
#[case::stranger("ec2", VPCS, |value: &str| value.replace("AKIDANN", "AKIDBOB"), "AuthFailure", 401)]
#[case::stranger_query("iam", ROLES, |value: &str| value.replace("AKIDANN", "AKIDBOB"), "InvalidClientTokenId", 403)]
#[case::stranger_json("ssm", r#"{"Name": "a"}"#, |value: &str| value.replace("AKIDANN", "AKIDBOB"), "UnrecognizedClientException", 400)]
#[case::mismatch("ec2", VPCS, str::to_owned, "AuthFailure", 401)]
#[case::mismatch_query("iam", ROLES, str::to_owned, "SignatureDoesNotMatch", 403)]
#[case::mismatch_json("sqs", "{}", str::to_owned, "InvalidSignatureException", 400)]
fn a_bad_signature_is_refused_in_the_protocols_words(
    #[case] service: &str,
    #[case] text: &str,
    #[case] change: fn(&str) -> String,
    #[case] code: &str,
    #[case] status: u16,
) {
    let ann =
        AccessKey { secret: "s".into(), session_token: None, principal: "arn:aws:iam::123456789012:user/ann".into(), user_id: "A".into() };
    let config = Config { keys: [("AKIDANN".to_owned(), ann)].into(), verify_signatures: true, ..Config::default() };
    let mut request = sent(service, text);
    let changed = change(request.headers()["authorization"].to_str().expect("text"));
    request.headers_mut().insert("authorization", changed.parse().expect("a valid header"));
    let response = ask(&mut Cloud::new(config), request);
    assert_eq!(refusal(&response), (code.to_owned(), status), "{}", body(&response));
}

#[rstest]
#[case::ec2("ec2", VPCS)]
#[case::query("autoscaling", "Action=DescribeAutoScalingGroups&Version=2011-01-01")]
#[case::json("sqs", "{}")]
fn a_region_that_is_none_is_refused(#[case] service: &str, #[case] text: &str) {
    let mut request = if service == "autoscaling" { sent("iam", text) } else { sent(service, text) };
    let scope =
        request.headers()["authorization"].to_str().expect("text").replace("us-west-2", "mars-north-1").replace("/iam/", "/autoscaling/");
    request.headers_mut().insert("authorization", scope.parse().expect("a valid header"));
    let response = ask(&mut Cloud::new(Config::default()), request);
    assert!(body(&response).contains("mars-north-1") && response.status().is_client_error(), "{} {}", response.status(), body(&response));
}

/// Clients of a partition's global endpoint (Java's `Region.AWS_GLOBAL`) sign for no region that there is.
#[test]
fn the_partitions_global_region_is_where_its_services_are() {
    let mut request = sent("iam", ROLES);
    let scope = request.headers()["authorization"].to_str().expect("text").replace("us-west-2", "aws-global");
    request.headers_mut().insert("authorization", scope.parse().expect("a valid header"));
    assert_eq!(ask(&mut Cloud::new(Config::default()), request).status(), 200);
}

#[test]
fn names_that_clients_make_up_fill_no_memory() {
    let mut cloud = Cloud::new(Config::default());
    for at in 0..1500 {
        ask(&mut cloud, form(&format!("{WHO}&Fun{at}=1")));
    }
    assert_eq!(cloud.unknown_parameters().len(), 1000);
    ask(&mut cloud, form(&format!("{WHO}&Fun0=1")));
    assert_eq!(cloud.unknown_parameters()[&(Service::Sts, "GetCallerIdentity", "Fun0".to_owned())], 2, "known ones are counted on");
}

#[test]
fn signatures_are_asked_for_when_the_configuration_says_so() {
    let ann = AccessKey {
        secret: "s".into(),
        session_token: None,
        principal: "arn:aws:iam::123456789012:user/ann".into(),
        user_id: "AIDAANN".into(),
    };
    let keys = [("AKIDANN".to_owned(), ann)].into();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDANN/20261120/us-west-2/sts/aws4_request, SignedHeaders=host, Signature=00";
    let signed = || {
        let mut request = form(WHO);
        request.headers_mut().insert("authorization", scope.parse().expect("a valid header"));
        request.headers_mut().insert("x-amz-date", "20261120T170000Z".parse().expect("a valid header"));
        request
    };
    let lax = Config { keys, ..Config::default() };
    let strict = Config { verify_signatures: true, ..lax.clone() };
    let accepted = ask(&mut Cloud::new(lax), signed());
    assert!(body(&accepted).contains("<Arn>arn:aws:iam::123456789012:user/ann</Arn>"), "{}", body(&accepted));
    let mut cloud = Cloud::new(strict);
    let mismatch = ask(&mut cloud, signed());
    assert_eq!(mismatch.status(), 403);
    assert!(body(&mismatch).contains("<Code>SignatureDoesNotMatch</Code>"), "{}", body(&mismatch));
    let unsigned = ask(&mut cloud, form(WHO));
    assert!(body(&unsigned).contains("<Code>MissingAuthenticationToken</Code>"), "{}", body(&unsigned));
}

proptest! {
    #[test]
    fn no_request_makes_the_cloud_panic(
        service in prop::sample::select(Service::ALL.to_vec()),
        pick in any::<prop::sample::Index>(),
        rest in "(&[A-Za-z]{1,12}(\\.[0-9]{1,2})?=[ -%'-~]{0,8}){0,6}",
        json in any::<bool>(),
    ) {
        let model = service.model();
        let names: Vec<&str> = model.operations.keys().copied().collect();
        let operation = names[pick.index(names.len())];
        let scope = format!("AWS4-HMAC-SHA256 Credential=K/20261120/us-west-2/{}/aws4_request, SignedHeaders=host, Signature=0", service.signing_name());
        let mut request = form(&format!("Action={operation}&Version={}{rest}", model.api_version));
        request.headers_mut().insert("authorization", scope.parse().expect("a valid header"));
        if let (true, Some(prefix)) = (json, model.target_prefix) {
            request.headers_mut().insert("x-amz-target", format!("{prefix}.{operation}").parse().expect("a valid header"));
            *request.body_mut() = Bytes::from_static(b"{}");
        }
        let mut cloud = Cloud::new(Config::default());
        cloud.submit(now(), request);
        for out in cloud.advance(now()) {
            if let Out::Reply(_, response) = out {
                prop_assert!(response.status() != 500, "{}", body(&response));
            }
        }
    }
}

proptest! {
    /// Whatever stands where a signature should: an error in the protocol's form, and nobody is let in.
    #[test]
    fn no_signature_makes_the_cloud_panic(
        service in prop::sample::select(vec!["ec2", "iam", "sqs", "eks"]),
        authorization in "(AWS4-HMAC-SHA256 ?)?((Credential|SignedHeaders|Signature|X)=[!-~]{0,30},? ?){0,4}",
        credential in "[a-zA-Z0-9/]{0,40}",
        date in "([0-9]{8}T[0-9]{6}Z|[ -~]{0,20})",
        query in "(&?X-Amz-(Credential|Date|Expires|SignedHeaders|Signature|Algorithm)=[a-zA-Z0-9%/;-]{0,30}){0,6}",
        presigned in any::<bool>(),
    ) {
        let mut request = sent(service, if service == "ec2" { VPCS } else { "" });
        let authorization = authorization.replace("Credential=", &format!("Credential={credential}"));
        let headers = request.headers_mut();
        headers.remove("authorization");
        if presigned {
            *request.uri_mut() = format!("/?{query}").parse().expect("a valid address");
        } else if let (Ok(authorization), Ok(date)) = (authorization.parse(), date.parse()) {
            headers.insert("authorization", authorization);
            headers.insert("x-amz-date", date);
        }
        let mut cloud = Cloud::new(Config { verify_signatures: true, ..Config::default() });
        let response = ask(&mut cloud, request);
        prop_assert!(response.status().is_client_error(), "{}", body(&response));
        prop_assert!(matches!(response.body().first(), Some(b'<' | b'{')), "{}", body(&response));
    }
}
