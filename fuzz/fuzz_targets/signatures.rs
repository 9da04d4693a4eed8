//! Any text as a signature, in the header or presigned, with signatures checked: the first line is the header, the second the query string.
#![no_main]

use bytes::Bytes;
use fake_ec2::{Cloud, Config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (header, query) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let request = http::Request::builder().method("POST").uri(format!("/?{query}")).header("authorization", header);
    let request = request.header("x-amz-date", "20261120T170000Z").header("content-type", "application/x-www-form-urlencoded");
    let Ok(request) = request.body(Bytes::from_static(b"Action=DescribeVpcs&Version=2016-11-15")) else { return };
    let now: jiff::Timestamp = "2026-11-20T17:00:00Z".parse().expect("an instant");
    let mut cloud = Cloud::new(Config { verify_signatures: true, ..Config::default() });
    cloud.submit(now, request);
    cloud.advance(now);
});
