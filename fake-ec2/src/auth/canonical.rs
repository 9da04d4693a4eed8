//! The canonical request and its signature.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::Signed;

/// Everything but SigV4's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same, for whole paths.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// The signature that the request should have, in hexadecimal.
pub(super) fn signature(signed: &Signed, request: &http::Request<bytes::Bytes>, secret: &str) -> String {
    let scope = format!("{}/{}/{}/aws4_request", signed.day, signed.region, signed.service);
    let digest = hex(&Sha256::digest(canonical_request(signed, request)));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", signed.date);
    let start = format!("AWS4{secret}").into_bytes();
    let parts = [signed.day.as_str(), &signed.region, &signed.service, "aws4_request", &to_sign];
    hex(&parts.iter().fold(start, |key, part| mac(&key, part)))
}

fn canonical_request(signed: &Signed, request: &http::Request<bytes::Bytes>) -> String {
    let path = match request.uri().path() {
        "" => "/",
        path => path,
    };
    // The path is encoded a second time, except for S3.
    let path = utf8_percent_encode(path, RESERVED_IN_PATH);
    let query = canonical_query(request.uri().query().unwrap_or_default());
    let headers: String = signed.signed_headers.iter().map(|name| format!("{name}:{}\n", header(request, name))).collect();
    let names = signed.signed_headers.join(";");
    let payload = hex(&Sha256::digest(request.body()));
    format!("{}\n{path}\n{query}\n{headers}\n{names}\n{payload}", request.method())
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(&percent_decode_str(text).decode_utf8_lossy(), RESERVED).to_string();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<(String, String)> = pairs.map(|(key, value)| (encode(key), encode(value))).collect();
    pairs.retain(|(key, _)| key != "X-Amz-Signature");
    pairs.sort();
    pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// A header's values with runs of blanks as one; the host may stand in the address (HTTP/2 has it nowhere else).
fn header(request: &http::Request<bytes::Bytes>, name: &str) -> String {
    let tidy = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let values = request.headers().get_all(name).iter().map(|value| tidy(&String::from_utf8_lossy(value.as_bytes())));
    let values: Vec<String> = values.collect();
    match (name, request.uri().authority()) {
        ("host", Some(authority)) if values.is_empty() => authority.to_string(),
        _ => values.join(","),
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
