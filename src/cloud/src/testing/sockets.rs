//! What a network and a tired service do, on real sockets: resets, half replies, HTML in place of an answer, throttles, a clock that is wrong.

use crate::port::{CloudError, TRANSPORT};
use crate::wire::transport::Surroundings;
use crate::wire::{Call, Client, Service};
use ambient::{Clock, Entropy};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime::client::identity::IdentityCache;
use rstest::rstest;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const GOOD: &str = "<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>";

/// What the server does with one request.
#[derive(Clone, Debug)]
enum Turn {
    /// The connection is reset before anything is answered.
    Reset,
    /// The head promises more than comes, then the connection ends.
    Half,
    /// Not even the head is whole.
    CutHead,
    Answer {
        status: u16,
        body: &'static str,
    },
    /// Bytes that are no HTTP.
    Noise,
}

const HTML: Turn = Turn::Answer { status: 503, body: "<html><head><title>503</title></head><body>Service Unavailable</body></html>" };
const THROTTLE: Turn = Turn::Answer {
    status: 503,
    body: "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors></Response>",
};
const SKEWED: Turn = Turn::Answer {
    status: 400,
    body: "<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors></Response>",
};
const FINE: Turn = Turn::Answer { status: 200, body: GOOD };

/// Plays its turns, one for each request, and remembers the heads.
struct Server {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn serve(turns: Vec<Turn>) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port of loopback");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        let mut turns = turns.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            // One request for each connection, since every answer says that it closes.
            let Some(head) = request(&mut stream).await else { continue };
            seen.lock().expect("nobody panics with it").push(head);
            let Some(turn) = turns.next() else { return };
            // The peer may be gone, which is its own affair.
            let _ = play(stream, turn).await;
        }
    });
    Server { url, heads }
}

/// Reads a whole request; gives its head.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(head.to_owned());
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

async fn play(mut stream: TcpStream, turn: Turn) -> std::io::Result<()> {
    match turn {
        Turn::Reset => stream.set_zero_linger()?,
        Turn::Half => {
            let half = &GOOD[..GOOD.len() / 2];
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{half}", GOOD.len()).as_bytes()).await?;
        }
        Turn::CutHead => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?,
        Turn::Noise => stream.write_all(b"\x16\x03\x01\x02nothing to see").await?,
        Turn::Answer { status, body } => {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
    }
    stream.shutdown().await
}

fn client(server: &Server) -> Arc<Client> {
    let surroundings = Surroundings {
        region: "us-west-2".to_owned(),
        credentials: SharedCredentialsProvider::new(Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test")),
        identity_cache: IdentityCache::no_cache(),
        http: aws_smithy_http_client::Builder::new().build_http(),
        clock: Clock::machine(),
        endpoints: Service::ALL.into_iter().map(|service| (service, server.url.clone())).collect(),
        fips: false,
        dual_stack: false,
    };
    Client::new(&surroundings, &Entropy::from_seed(1))
}

/// The ids that the call read, or how it failed; and how often it was tried.
async fn told(turns: Vec<Turn>, call: Call) -> (Result<String, CloudError>, usize) {
    let server = serve(turns).await;
    let done = tokio::time::timeout(Duration::from_secs(20), client(&server).call(&call)).await.expect("an answer within 20 s");
    let read = done.map(|reply| reply.xml().at(&["vpcSet", "item", "vpcId"]).map(|id| id.text.clone()).unwrap_or_default());
    let tries = server.heads.lock().expect("nobody panics with it").len();
    (read, tries)
}

fn describe() -> Call {
    Call::ec2("DescribeVpcs", json!({}))
}

#[rstest]
#[case::a_reset(Turn::Reset)]
#[case::half_a_reply(Turn::Half)]
#[case::half_a_head(Turn::CutHead)]
#[case::no_http(Turn::Noise)]
#[case::html(HTML)]
#[case::a_throttle(THROTTLE)]
#[tokio::test]
async fn what_passes_is_tried_again(#[case] turn: Turn) {
    let (read, tries) = told(vec![turn, FINE], describe()).await;
    assert_eq!((read.as_deref(), tries), (Ok("vpc-1"), 2));
}

#[rstest]
#[case::a_reset(Turn::Reset, TRANSPORT, 0)]
#[case::half_a_reply(Turn::Half, TRANSPORT, 0)]
#[case::html(HTML, "Unknown", 503)]
#[case::a_throttle(THROTTLE, "RequestLimitExceeded", 503)]
#[tokio::test]
async fn what_is_not_to_be_repeated_is_told_at_once(#[case] turn: Turn, #[case] code: &str, #[case] status: u16) {
    let (read, tries) = told(vec![turn, FINE], describe().once()).await;
    let error = read.expect_err("no second try");
    assert_eq!((error.code.as_str(), error.status, error.operation.as_str(), tries), (code, status, "ec2:DescribeVpcs", 1));
}

#[tokio::test]
async fn a_service_that_stays_away_is_given_up_after_three_tries() {
    let (read, tries) = told(vec![Turn::Reset, HTML, Turn::Half, FINE], describe()).await;
    assert_eq!((read.expect_err("three tries").code.as_str(), tries), (TRANSPORT, 3));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_and_not_tried_again() {
    let (read, tries) = told(vec![SKEWED, FINE], describe()).await;
    assert_eq!((read.expect_err("expired").code.as_str(), tries), ("RequestExpired", 1));
}

#[tokio::test]
async fn every_try_is_signed_anew_and_keeps_its_invocation() {
    let server = serve(vec![Turn::Reset, FINE]).await;
    client(&server).call(&describe()).await.expect("the second try");
    let heads = server.heads.lock().expect("nobody panics with it").clone();
    let header = |at: usize, name: &str| {
        heads[at].lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(header(0, "amz-sdk-invocation-id"), header(1, "amz-sdk-invocation-id"));
    assert!(header(0, "amz-sdk-request").contains("attempt=1") && header(1, "amz-sdk-request").contains("attempt=2"));
    assert!(header(1, "authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/"));
}
