//! No bytes make a codec panic, and whatever is refused is refused in the protocol's shape.

use fake_ec2::model::Service;
use fake_ec2::protocol::{self, Dialect};
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
