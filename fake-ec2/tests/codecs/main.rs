//! The codecs, the signatures and the catalogue from outside: no services, no state.

mod any_bytes;
mod catalogue;
mod replies;
mod requests;
mod round_trips;
mod signatures;
mod values;

use bytes::Bytes;
use fake_ec2::model::Service;
use fake_ec2::protocol::{self, AwsError, Dialect, Form, Parsed};
use fake_ec2::{Limits, Request, auth};

/// A request with headers, as a client sends it.
fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::copy_from_slice(body)).expect("the test writes a valid request")
}

/// A form of the query protocols.
fn form(body: &str) -> Request {
    request("POST", "/", &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")], body.as_bytes())
}

/// Finds the service and reads the request; the error is the one that a client would see.
fn read(request: &Request) -> Result<(Service, Option<String>, Parsed), AwsError> {
    let limits = Limits::default();
    let form = Form::of(request, &limits).unwrap_or_default();
    let signed = auth::read(request, &form).unwrap_or_default();
    let target = protocol::target(request, signed.as_ref(), &form).ok_or_else(|| AwsError::new("NoService", ""))?;
    let dialect = Dialect::of(Some(target.service), request);
    match protocol::parse(target.service, dialect, request, &form, &limits) {
        Ok(parsed) => Ok((target.service, target.region, parsed)),
        Err(why) => Err(why.error(target.service, dialect.protocol)),
    }
}
