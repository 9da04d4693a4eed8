//! What the targets of the codecs share.

use bytes::Bytes;
use fake_ec2::model::{Protocol, Service};
use fake_ec2::{Cloud, Config};

/// Any bytes as a request in one protocol, all the way through a cloud: the first byte chooses the service, the first line is the target or
/// the path, the rest is the body.
pub fn through(protocol: Protocol, input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let services: Vec<Service> = Service::ALL.into_iter().filter(|service| service.model().protocol == protocol).collect();
    let service = services[usize::from(*choice) % services.len()];
    let (line, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&b""[..], rest),
    };
    let line = String::from_utf8_lossy(line);
    let model = service.model();
    let scope = format!("AWS4-HMAC-SHA256 Credential=K/20261120/us-west-2/{}/aws4_request, SignedHeaders=host, Signature=0", service.signing_name());
    let request = http::Request::builder().header("authorization", scope);
    let request = match protocol {
        Protocol::Ec2 | Protocol::Query => request.method("POST").uri("/").header("content-type", "application/x-www-form-urlencoded"),
        Protocol::Json => request.method("POST").uri("/").header("x-amz-target", format!("{}.{line}", model.target_prefix.unwrap_or_default())),
        Protocol::RestJson => request.method(if body.is_empty() { "GET" } else { "POST" }).uri(format!("/{}", line.trim_start_matches('/'))),
    };
    let Ok(request) = request.body(Bytes::copy_from_slice(body)) else { return };
    let now: jiff::Timestamp = "2026-11-20T17:00:00Z".parse().expect("an instant");
    let mut cloud = Cloud::new(Config::default());
    cloud.submit(now, request);
    cloud.advance(now);
}
