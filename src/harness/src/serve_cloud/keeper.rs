//! What a served cloud keeps beside itself: the token of its control, and the journal from which it comes back.
//!
//! The journal holds the requests that change something, each with its instant, one JSON document a line, written before the request is
//! done. The cloud is deterministic: the same requests at the same instants make the same cloud. A last line that was cut off by a crash is
//! left out; its request was never answered. A receiver of messages is written down when it gets some, at that instant and before they are
//! handed out: most polls bring nothing, and must not make the file grow. What was written reaches the disk within a fifth of a second.

use super::control;
use crate::pump::{Request, Tap};
use crate::wires;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fake_ec2::Cloud;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use {0} as the state's file: {1}")]
    File(PathBuf, #[source] std::io::Error),
    #[error("{0} is no state of a dryfit cloud (line {1})")]
    Line(PathBuf, usize),
    #[error("{0} is of a cloud with {1}; start this one so, or take another file")]
    Other(PathBuf, String),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    pub region: String,
    token: Option<Arc<str>>,
    journal: Option<Arc<Journal>>,
    /// Receivers of messages that wait for an answer, by their numbers on the wire.
    receivers: BTreeMap<u64, Request>,
}

struct Journal {
    file: Mutex<File>,
    /// Something was written that may not be on the disk.
    dirty: AtomicBool,
}

impl Journal {
    fn write(&self, line: &Value) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Without room on the disk the cloud goes on; what it says then is lost when it ends.
        if let Err(error) = writeln!(file, "{line}").and_then(|()| file.flush()) {
            eprintln!("the state is not kept: {error}");
        }
        self.dirty.store(true, Ordering::Release);
    }

    /// Brings what was written to the disk.
    fn sync(&self) {
        if self.dirty.swap(false, Ordering::AcqRel) {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).try_clone();
            if let Err(error) = file.and_then(|file| file.sync_data()) {
                eprintln!("the state is not on the disk: {error}");
            }
        }
    }
}

/// How often what was written is brought to the disk.
const SYNC: Duration = Duration::from_millis(200);

impl Keeper {
    pub fn new(region: &str, token: Option<&str>) -> Self {
        Keeper { region: region.to_owned(), token: token.map(Arc::from), journal: None, receivers: BTreeMap::new() }
    }

    /// Whether a request to the control bears the token, if there is one.
    pub fn admits(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| wires::same(given.as_bytes(), token.as_bytes()))
    }

    /// Brings a fresh cloud to where the file left it, and keeps from now on what changes it. `start` is what both must have in common.
    pub fn keep(&mut self, path: &Path, start: &Value, cloud: &mut Cloud) -> Result<usize, JournalError> {
        let broken = |error| JournalError::File(path.to_owned(), error);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(broken)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(broken)?;
        // Only whole lines count.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(broken)?;
        file.seek(SeekFrom::End(0)).map_err(broken)?;
        let mut lines = text[..whole].lines().enumerate();
        let head = json!({ "cloud": start });
        match lines.next() {
            None => writeln!(file, "{head}").map_err(broken)?,
            Some((_, line)) => {
                let known: Value = serde_json::from_str(line).map_err(|_| JournalError::Line(path.to_owned(), 1))?;
                let other = known.get("cloud").ok_or_else(|| JournalError::Line(path.to_owned(), 1))?;
                if other != start {
                    return Err(JournalError::Other(path.to_owned(), other.to_string()));
                }
            }
        }
        let (mut count, mut kept, mut empty) = (0, format!("{head}\n"), 0);
        for (at, line) in lines {
            let (now, request) = read(line).ok_or_else(|| JournalError::Line(path.to_owned(), at + 1))?;
            if control::is_control(&request) {
                control::replay(cloud, now, &self.region, &request);
            } else {
                let receives = receives(&request);
                cloud.submit(now, request);
                let outs = cloud.advance(now);
                // Files of before hold polls that brought nothing.
                if receives && !outs.iter().any(|out| matches!(out, fake_ec2::Out::Reply(_, reply) if brings_messages(reply.body()))) {
                    empty += 1;
                    continue;
                }
            }
            kept.extend([line, "\n"]);
            count += 1;
        }
        if empty > 0 {
            file = replace(path, &kept).map_err(broken)?;
        }
        file.sync_data().map_err(broken)?;
        let journal = Arc::new(Journal { file: Mutex::new(file), dirty: AtomicBool::new(false) });
        let synced = Arc::downgrade(&journal);
        std::thread::spawn(move || {
            while let Some(journal) = synced.upgrade() {
                journal.sync();
                drop(journal);
                std::thread::sleep(SYNC);
            }
        });
        self.journal = Some(journal);
        Ok(count)
    }

    /// Writes a request down, if there is a journal and it may change something.
    pub fn note(&self, now: Timestamp, request: &Request) {
        let Some(journal) = &self.journal else { return };
        if !only_reads(request) {
            journal.write(&written(now, request));
        }
    }

    /// Brings what was written to the disk, at the end.
    pub fn end(&self) {
        if let Some(journal) = &self.journal {
            journal.sync();
        }
    }

    /// The same for all requests of a wire.
    pub fn tap(&self) -> Option<Box<dyn Tap>> {
        self.journal.is_some().then(|| Box::new(self.clone()) as Box<dyn Tap>)
    }
}

impl Tap for Keeper {
    fn request(&mut self, now: Timestamp, number: u64, request: &Request) {
        if receives(request) {
            self.receivers.insert(number, request.clone());
        } else {
            self.note(now, request);
        }
    }

    fn reply(&mut self, now: Timestamp, number: u64, _: u16, body: &[u8]) {
        if let Some(request) = self.receivers.remove(&number)
            && brings_messages(body)
        {
            self.note(now, &request);
        }
    }

    fn chunk(&mut self, _: Timestamp, _: u64, _: &[u8]) {}
}

/// A request as a line holds it.
fn written(now: Timestamp, request: &Request) -> Value {
    let headers: Vec<[&str; 2]> =
        request.headers().iter().filter_map(|(name, value)| Some([name.as_str(), value.to_str().ok()?])).collect();
    json!({
        "now": now.to_string(), "method": request.method().as_str(), "uri": request.uri().to_string(), "headers": headers,
        "body": STANDARD.encode(request.body()),
    })
}

/// Puts a whole new file in the place of another: after a crash there is the one or the other.
fn replace(path: &Path, text: &str) -> std::io::Result<File> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    OpenOptions::new().append(true).open(path)
}

/// Whether a request asks a queue for messages.
fn receives(request: &Request) -> bool {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    target.is_some_and(|target| target.ends_with(".ReceiveMessage")) || named(request, |name| name == "ReceiveMessage") == Some(true)
}

/// Whether an answer to it holds any.
fn brings_messages(body: &[u8]) -> bool {
    // In JSON and XML alike a message has this member, and nothing else of the answer has.
    body.windows(b"ReceiptHandle".len()).any(|part| part == b"ReceiptHandle")
}

/// What holds of the operation's name in a form, if there is one.
fn named(request: &Request, holds: impl Fn(&str) -> bool) -> Option<bool> {
    let action = |text: &str| text.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(&holds);
    let body = std::str::from_utf8(request.body()).ok().and_then(action);
    body.or_else(|| request.uri().query().and_then(action))
}

/// Whether a request only describes, gets or lists.
fn only_reads(request: &Request) -> bool {
    let reads = |name: &str| ["Describe", "Get", "List"].iter().any(|verb| name.starts_with(verb));
    if let Some(target) = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()) {
        return target.split_once('.').is_some_and(|(_, name)| reads(name));
    }
    named(request, reads).unwrap_or(request.method() == http::Method::GET)
}

fn read(line: &str) -> Option<(Timestamp, Request)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let now = line["now"].as_str()?.parse().ok()?;
    let mut request = http::Request::builder().method(line["method"].as_str()?).uri(line["uri"].as_str()?);
    for header in line["headers"].as_array()? {
        request = request.header(header[0].as_str()?, header[1].as_str()?);
    }
    Some((now, request.body(Bytes::from(STANDARD.decode(line["body"].as_str()?).ok()?)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Request {
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=00";
        let request = http::Request::post("http://127.0.0.1/").header("authorization", scope);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(Bytes::from(format!("{body}&Version=2016-11-15"))).expect("a request")
    }

    fn fresh() -> Cloud {
        Cloud::new(fake_ec2::Config { seed: 3, ..Default::default() })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).expect("in range")
    }

    /// Sends requests as a served cloud gets them.
    fn send(cloud: &mut Cloud, keeper: &Keeper, second: i64, body: &str) -> String {
        let request = ask(body);
        keeper.note(at(second), &request);
        let ticket = cloud.submit(at(second), request);
        let outs = cloud.advance(at(second));
        let reply = outs.into_iter().find_map(|out| match out {
            fake_ec2::Out::Reply(answered, response) if answered == ticket => Some(response),
            _ => None,
        });
        let text = String::from_utf8_lossy(reply.expect("a reply").body()).into_owned();
        // Each answer has an id of its own.
        text.split("<requestId>").map(|part| part.split_once("</requestId>").map_or(part, |(_, rest)| rest)).collect()
    }

    #[test]
    fn a_cloud_comes_back_as_it_was_and_a_cut_line_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let start = json!({"seed": 3});
        let (mut cloud, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        assert_eq!(keeper.keep(&path, &start, &mut cloud).expect("a new file"), 0);
        send(&mut cloud, &keeper, 0, "Action=CreateVpc&CidrBlock=10.0.0.0/16");
        send(&mut cloud, &keeper, 1, "Action=DescribeVpcs");
        let run = "Action=RunInstances&ImageId=resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64&InstanceType=m5.large&MinCount=2&MaxCount=2";
        assert!(send(&mut cloud, &keeper, 2, run).contains("<instanceId>i-"));
        let asked = "Action=DescribeInstances";
        let (vpcs, instances) = (send(&mut cloud, &keeper, 60, "Action=DescribeVpcs"), send(&mut cloud, &keeper, 60, asked));
        assert!(instances.contains("running"));
        drop(keeper);
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        file.write_all(b"{\"now\": \"2026-").expect("a cut line");

        let (mut again, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        assert_eq!(keeper.keep(&path, &start, &mut again).expect("the same file"), 2, "reads are not kept");
        assert_eq!(send(&mut again, &keeper, 60, "Action=DescribeVpcs"), vpcs);
        assert_eq!(send(&mut again, &keeper, 60, asked), instances);
        send(&mut again, &keeper, 61, "Action=CreateVpc&CidrBlock=10.1.0.0/16");
        drop(keeper);
        let mut third = fresh();
        assert_eq!(Keeper::new("us-west-2", None).keep(&path, &start, &mut third).expect("the same file"), 3);
        let other = Keeper::new("us-west-2", None).keep(&path, &json!({"seed": 4}), &mut fresh());
        assert!(matches!(other, Err(JournalError::Other(..))), "{other:?}");
    }

    fn ask_sqs(body: &str) -> Request {
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-west-2/sqs/aws4_request, SignedHeaders=host, Signature=00";
        let request = http::Request::post("http://127.0.0.1/").header("authorization", scope);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(Bytes::from(format!("{body}&Version=2012-11-05"))).expect("a request")
    }

    /// As a wire tells it: the request, then its reply.
    fn poll(cloud: &mut Cloud, keeper: &mut Keeper, second: i64, number: u64, body: &str) -> String {
        let request = ask_sqs(body);
        Tap::request(keeper, at(second), number, &request);
        let ticket = cloud.submit(at(second), request);
        let outs = cloud.advance(at(second));
        let reply = outs.into_iter().find_map(|out| match out {
            fake_ec2::Out::Reply(answered, response) if answered == ticket => Some(response),
            _ => None,
        });
        let reply = reply.expect("a reply");
        Tap::reply(keeper, at(second), number, 200, reply.body());
        String::from_utf8_lossy(reply.body()).into_owned()
    }

    #[test]
    fn polls_that_bring_nothing_do_not_make_the_file_grow() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let start = json!({"seed": 3});
        let (mut cloud, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        keeper.keep(&path, &start, &mut cloud).expect("a new file");
        let queue = "QueueUrl=http%3A%2F%2F127.0.0.1%2F123456789012%2Fq";
        poll(&mut cloud, &mut keeper, 0, 1, "Action=CreateQueue&QueueName=q");
        let size = || std::fs::metadata(&path).expect("the file").len();
        let before = size();
        for number in 2..100 {
            assert!(!poll(&mut cloud, &mut keeper, 1, number, &format!("Action=ReceiveMessage&{queue}")).contains("<Message>"));
        }
        assert_eq!(size(), before);
        poll(&mut cloud, &mut keeper, 2, 100, &format!("Action=SendMessage&{queue}&MessageBody=hello"));
        assert!(poll(&mut cloud, &mut keeper, 3, 101, &format!("Action=ReceiveMessage&{queue}&VisibilityTimeout=60")).contains("hello"));
        drop(keeper);

        // Polls of a file that an older build wrote are left out when it is opened.
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        let kept = size();
        for second in 4..50 {
            writeln!(file, "{}", written(at(second), &ask_sqs(&format!("Action=ReceiveMessage&{queue}")))).expect("a line");
        }
        let (mut again, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        assert_eq!(keeper.keep(&path, &start, &mut again).expect("the same file"), 3);
        assert_eq!(size(), kept);
        let asked = format!("Action=ReceiveMessage&{queue}");
        assert!(!poll(&mut again, &mut keeper, 60, 1, &asked).contains("hello"), "it is in flight as it was");
        assert!(poll(&mut again, &mut keeper, 64, 2, &asked).contains("hello"), "and comes back when it was to");
        poll(&mut again, &mut keeper, 65, 3, "Action=CreateQueue&QueueName=r");
        assert!(size() > kept, "it is written on");
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        std::fs::write(&path, "hello\n").expect("written");
        let kept = Keeper::new("us-west-2", None).keep(&path, &json!({}), &mut fresh());
        assert!(matches!(kept, Err(JournalError::Line(_, 1))), "{kept:?}");
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let bare = ask("");
        assert!(Keeper::new("r", None).admits(&bare));
        let keeper = Keeper::new("r", Some("secret"));
        assert!(!keeper.admits(&bare));
        let with =
            |token: &str| http::Request::get("/_dryfit/faults").header("authorization", token).body(Bytes::new()).expect("a request");
        assert!(keeper.admits(&with("Bearer secret")) && !keeper.admits(&with("Bearer other")));
    }
}
