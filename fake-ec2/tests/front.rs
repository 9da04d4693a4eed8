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
