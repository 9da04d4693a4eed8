//! Signatures, against the example of AWS's documentation and signatures of botocore's.

use fake_ec2::config::AccessKey;
use fake_ec2::protocol::Form;
use fake_ec2::{Config, Request, auth};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::request;

/// IAM User Guide, "Signature Version 4 signing process", the ListUsers example.
const SIGNATURE: &str = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

fn key() -> AccessKey {
    AccessKey {
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: None,
        principal: "arn:aws:iam::210987654321:user/ann".into(),
        user_id: "AIDAEXAMPLE".into(),
    }
}

fn list_users(signature: &str) -> Request {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, \
         Signature={signature}"
    );
    let headers = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", authorization.as_str()),
    ];
    request("GET", "/?Action=ListUsers&Version=2010-05-08", &headers, b"")
}

fn outcome(request: &Request, key: Option<&AccessKey>, minutes_later: i64) -> Result<(), String> {
    let config = Config::default();
    let form = Form::of(request, &config.limits).map_err(|why| why.to_string())?;
    let signed = auth::read(request, &form).map_err(|why| why.to_string())?.ok_or("unsigned")?;
    let date: Timestamp = "2015-08-30T12:36:00Z".parse().expect("an instant");
    let now = date + SignedDuration::from_mins(minutes_later);
    auth::verify(&signed, request, key, &config, now).map_err(|why| why.to_string())
}

#[rstest]
#[case(0, None)]
#[case(5, None)]
#[case(-5, None)]
#[case(6, Some("the signature of 2015-08-30T12:36:00Z has expired at 2015-08-30T12:42:00Z"))]
#[case(-6, Some("the signature of 2015-08-30T12:36:00Z is not yet valid at 2015-08-30T12:30:00Z"))]
fn the_documented_signature_holds_while_it_is_fresh(#[case] minutes: i64, #[case] refusal: Option<&str>) {
    assert_eq!(outcome(&list_users(SIGNATURE), Some(&key()), minutes).err().as_deref(), refusal);
}

#[test]
fn another_signature_secret_or_key_does_not() {
    let other = AccessKey { secret: "other".into(), ..key() };
    assert_eq!(outcome(&list_users(&SIGNATURE.replace('5', "6")), Some(&key()), 0), Err("the signature does not match".into()));
    assert_eq!(outcome(&list_users(SIGNATURE), Some(&other), 0), Err("the signature does not match".into()));
    let unknown = "the access key or its session token is not known";
    assert_eq!(outcome(&list_users(SIGNATURE), None, 0), Err(unknown.into()));
    let with_token = AccessKey { session_token: Some("t".into()), ..key() };
    assert_eq!(outcome(&list_users(SIGNATURE), Some(&with_token), 0), Err(unknown.into()));
}

#[rstest]
#[case("Basic eDp5")]
#[case("AWS4-HMAC-SHA256 Credential=K/20150830/us-east-1/iam, SignedHeaders=host, Signature=0")]
#[case("AWS4-HMAC-SHA256 Credential=K/20150830/us-east-1/iam/aws4_request, Signature=0")]
fn an_incomplete_signature_is_told(#[case] authorization: &str) {
    let request = request("GET", "/", &[("authorization", authorization)], b"");
    let refusal = auth::read(&request, &Form::default()).expect_err("incomplete");
    assert!(matches!(refusal, auth::Refusal::Incomplete(_)), "{refusal:?}");
}

#[test]
fn a_key_stands_for_its_principal_and_no_key_for_the_root() {
    let config = Config::default();
    let request = list_users(SIGNATURE);
    let signed = auth::read(&request, &Form::default()).expect("complete");
    let ann = auth::caller(signed.as_ref(), Some(&key()), &config);
    assert_eq!((ann.account.as_str(), ann.principal.as_str()), ("210987654321", "arn:aws:iam::210987654321:user/ann"));
    let root = auth::caller(None, None, &config);
    assert_eq!((root.access_key, root.principal.as_str()), (None, "arn:aws:iam::123456789012:root"));
}
