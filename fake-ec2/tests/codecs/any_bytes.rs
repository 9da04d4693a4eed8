//! No bytes make a codec panic, and whatever is refused is refused in the protocol's shape.

use fake_ec2::model::{Protocol, Service};
use fake_ec2::protocol::{self, Dialect};
use fake_ec2::{Cloud, Config, Out};
use proptest::prelude::*;

use super::{read, request};

/// What steers a request to a service and a protocol, so that the bytes meet each parser.
fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let scope =
        |service: &str| format!("AWS4-HMAC-SHA256 Credential=K/20261120/us-west-2/{service}/aws4_request, SignedHeaders=host, Signature=0");
    let service = prop::sample::select(Service::ALL.to_vec());
    let form = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
    (service, any::<bool>(), "[!-~ ]{0,40}").prop_map(move |(service, signed, noise)| {
        let authorization = if signed { scope(service.signing_name()) } else { noise };
        let mut headers = vec![("authorization".to_owned(), authorization)];
        let model = service.model();
        match (model.target_prefix, model.operations.keys().next()) {
            (Some(prefix), Some(operation)) => headers.push(("x-amz-target".to_owned(), format!("{prefix}.{operation}"))),
            _ => headers.push(form.clone()),
        }
        headers
    })
}

/// Bytes that look like what the parsers expect, and bytes that do not.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let names =
        "(Action|Version|Filter|TagSpecification|Tag|Overrides|LaunchTemplateConfigs|MaxResults|Name|Key|member|entry|[A-Za-z]{1,5})";
    let key = format!(r"{names}(\.({names}|[0-9]{{1,12}}|)){{0,6}}");
    let value = "(CreateFleet|DescribeInstances|RunInstances|CreateTags|2016-11-15|2010-05-08|true|-?[0-9]{1,20}|%[0-9A-F]{2}|[ -~]{0,12})";
    let pair = prop::string::string_regex(&format!("{key}={value}")).expect("a valid expression");
    let form = prop::collection::vec(pair, 0..12).prop_map(|pairs| pairs.join("&").into_bytes());
    let json = r#"\{("Name"|"QueueUrl"|"Path"|"Filters"|"[a-z]{1,4}"):(\{|\[|"|[0-9]{1,25}|1e999|null|true|"[ -~]{0,8}"|[ -~]{0,8})\}?"#;
    prop_oneof![form, json.prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..200)]
}

fn url() -> impl Strategy<Value = String> {
    let query = "[A-Za-z0-9%=&.+_-]{0,60}";
    ("/(clusters|managedresources|123456789012)?(/[a-zA-Z0-9%._~-]{0,12}){0,3}", query).prop_map(|(path, query)| format!("{path}?{query}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_a_codec_panic(headers in headers(), url in url(), method in "(GET|POST|DELETE|PUT)", body in body()) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = request(&method, &url, &headers, &body);
        if let Err(error) = read(&request) {
            for service in Service::ALL {
                let response = protocol::failure(Some(service), Dialect::of(Some(service), &request), "r-1", &error);
                let start = response.body().first().copied();
                prop_assert!(matches!(start, Some(b'<' | b'{')), "an error has a body of its protocol");
                prop_assert!(response.status().as_u16() >= 400);
            }
        }
    }
}

/// A request of one protocol, whatever its operation and its body: a service, what stands in the target or the path, the body.
fn of(protocol: Protocol) -> impl Strategy<Value = (Service, String, Vec<u8>)> {
    let services: Vec<Service> = Service::ALL.into_iter().filter(|service| service.model().protocol == protocol).collect();
    let names = services.iter().flat_map(|service| service.model().operations.keys().map(|name| (*name).to_owned()));
    let name = prop_oneof![prop::sample::select(names.collect::<Vec<_>>()), "[A-Za-z0-9/._~%-]{0,30}"];
    let named = (name.clone(), body()).prop_map(|(name, body)| {
        let mut form = format!("Action={name}&").into_bytes();
        form.extend(body);
        form
    });
    (prop::sample::select(services), name, prop_oneof![body(), named])
}

/// One reply, in the protocol's shape, from a cloud that goes on.
fn through(protocol: Protocol, (service, name, body): (Service, String, Vec<u8>)) -> Result<(), TestCaseError> {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=K/20261120/us-west-2/{}/aws4_request, SignedHeaders=host, Signature=0",
        service.signing_name()
    );
    let target = format!("{}.{name}", service.model().target_prefix.unwrap_or_default());
    let headers = match protocol {
        Protocol::Json => [("authorization", scope.as_str()), ("x-amz-target", target.as_str())],
        _ => [("authorization", scope.as_str()), ("content-type", "application/x-www-form-urlencoded")],
    };
    let path = format!("/{}", name.trim_start_matches('/'));
    let url = if protocol == Protocol::RestJson { path.as_str() } else { "/" };
    if url.parse::<http::Uri>().is_err() || http::HeaderValue::from_str(&target).is_err() {
        return Ok(());
    }
    let now: jiff::Timestamp = "2026-11-20T17:00:00Z".parse().expect("an instant");
    let mut cloud = Cloud::new(Config::default());
    let ticket = cloud.submit(now, request("POST", url, &headers, &body));
    for out in cloud.advance(now) {
        let Out::Reply(answered, reply) = out else { continue };
        prop_assert_eq!(answered, ticket);
        let start = reply.body().first().copied();
        prop_assert!(matches!(start, None | Some(b'<' | b'{')), "{:?}", reply);
    }
    let form = [("authorization", "none"), ("content-type", "application/x-www-form-urlencoded")];
    let alive = cloud.submit(now, request("POST", "/", &form, b"Action=GetCallerIdentity&Version=2011-06-15"));
    let answered =
        cloud.advance(now).into_iter().any(|out| matches!(out, Out::Reply(ticket, reply) if ticket == alive && reply.status() == 200));
    prop_assert!(answered, "the cloud goes on");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_of_ec2(asked in of(Protocol::Ec2)) {
        through(Protocol::Ec2, asked)?;
    }

    #[test]
    fn any_bytes_of_query(asked in of(Protocol::Query)) {
        through(Protocol::Query, asked)?;
    }

    #[test]
    fn any_bytes_of_json(asked in of(Protocol::Json)) {
        through(Protocol::Json, asked)?;
    }

    #[test]
    fn any_bytes_of_rest_json(asked in of(Protocol::RestJson)) {
        through(Protocol::RestJson, asked)?;
    }
}
