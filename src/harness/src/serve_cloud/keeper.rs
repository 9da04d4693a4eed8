//! What a served cloud keeps beside itself: the token of its control, and the journal from which it comes back.
//!
//! The journal begins with the state as it was at some moment, and holds the requests since then that change something, each with its
//! instant, one JSON document a line, written before the request is done. The cloud is deterministic: the same requests at the same instants
//! make the same cloud. A last line that was cut off by a crash is left out; its request was never answered. A receiver of messages is
//! written down when it gets some, at that instant and before they are handed out: most polls bring nothing, and must not make the file grow.
//! What was written reaches the disk within a fifth of a second. When requests fill more of the file than it should hold, a new one is
//! written beside it, with the state of that moment and what comes meanwhile, and takes its place when it is on the disk.

use super::control;
use crate::pump::{Request, Tap};
use crate::wires;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fake_ec2::Cloud;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    #[error("{0} holds a state that this dryfit cannot read: {1}; start with the one that wrote it, or take another file")]
    State(PathBuf, #[source] serde_json::Error),
    #[error("{0} is kept by another cloud that runs")]
    Taken(PathBuf),
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
    path: PathBuf,
    /// The first line of each new file.
    head: String,
    open: Mutex<Open>,
    /// Something was written that may not be on the disk.
    dirty: AtomicBool,
    /// How many bytes may yet be written before the file is made anew; 0 when it is time.
    room: AtomicU64,
    least: u64,
}

struct Open {
    file: File,
    /// What was written since a new file was begun, until it takes this one's place.
    since: Option<Vec<u8>>,
}

impl Journal {
    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, line: &Value) {
        let line = format!("{line}\n");
        let mut open = self.lock();
        // Without room on the disk the cloud goes on; what it says then is lost when it ends.
        if let Err(error) = open.file.write_all(line.as_bytes()) {
            eprintln!("the state is not kept: {error}");
        }
        if let Some(since) = &mut open.since {
            since.extend(line.as_bytes());
        }
        let left = self.room.load(Ordering::Relaxed).saturating_sub(line.len() as u64);
        self.room.store(left, Ordering::Relaxed);
        self.dirty.store(true, Ordering::Release);
    }

    /// Brings what was written to the disk.
    fn sync(&self) {
        if self.dirty.swap(false, Ordering::AcqRel) {
            let file = self.lock().file.try_clone();
            if let Err(error) = file.and_then(|file| file.sync_data()) {
                eprintln!("the state is not on the disk: {error}");
            }
        }
    }

    /// Puts a file with this state in the place of the one that is; after a crash there is the one or the other, and both are whole.
    fn make_anew(&self, state: &str) {
        let text = format!("{}{{\"state\":{state}}}\n", self.head);
        if let Err(error) = self.replace(&text) {
            eprintln!("the state's file is not made anew: {error}");
            self.lock().since = None;
        }
        self.room.store(self.least.max(text.len() as u64), Ordering::Relaxed);
    }

    fn replace(&self, text: &str) -> std::io::Result<()> {
        let fresh = beside(&self.path);
        let mut file = File::create(&fresh)?;
        file.try_lock()?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let mut open = self.lock();
        file.write_all(open.since.take().unwrap_or_default().as_slice())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        open.file = file;
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Where the next file is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// So many bytes of requests a file holds at least before it is made anew; or as many as the state fills, if that is more.
const LEAST: u64 = 1 << 20;

/// How often what was written is brought to the disk.
const SYNC: Duration = Duration::from_millis(200);
/// How often the file is asked for, half of that time apart.
const PATIENCE: u32 = 6;

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

    /// Brings a fresh cloud to where the file left it, and keeps from now on what changes it. `start` is what both must have in common;
    /// `begin` is done first, with the instant at which the cloud was first started. How many requests were done once more.
    pub fn keep(
        &mut self,
        path: &Path,
        start: &Value,
        now: Timestamp,
        cloud: &mut Cloud,
        begin: impl FnOnce(&mut Cloud, Timestamp),
    ) -> Result<usize, JournalError> {
        self.keep_within(LEAST, path, start, now, cloud, begin)
    }

    fn keep_within(
        &mut self,
        least: u64,
        path: &Path,
        start: &Value,
        now: Timestamp,
        cloud: &mut Cloud,
        begin: impl FnOnce(&mut Cloud, Timestamp),
    ) -> Result<usize, JournalError> {
        let broken = |error| JournalError::File(path.to_owned(), error);
        let strange = |at: usize| JournalError::Line(path.to_owned(), at + 1);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(broken)?;
        // Who had it before may be bringing its last lines to the disk.
        for left in (0..PATIENCE).rev() {
            match file.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::Error(error)) => return Err(broken(error)),
                Err(std::fs::TryLockError::WouldBlock) if left == 0 => return Err(JournalError::Taken(path.to_owned())),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(SYNC / 2),
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(broken)?;
        // Only whole lines count.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(broken)?;
        file.seek(SeekFrom::End(0)).map_err(broken)?;
        let mut lines = text[..whole].lines().enumerate().peekable();
        let mut head = format!("{}\n", json!({ "cloud": start, "began": now }));
        let mut began = now;
        match lines.next() {
            None => file.write_all(head.as_bytes()).map_err(broken)?,
            Some((_, line)) => {
                let known: Value = serde_json::from_str(line).map_err(|_| strange(0))?;
                let other = known.get("cloud").ok_or_else(|| strange(0))?;
                if other != start {
                    return Err(JournalError::Other(path.to_owned(), other.to_string()));
                }
                // Files of before do not say when they began.
                if let Some(at) = known["began"].as_str().and_then(|at| at.parse().ok()) {
                    (began, head) = (at, format!("{line}\n"));
                }
            }
        }
        begin(cloud, began);
        if let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(r#"{"state":"#)) {
            let failed = |error| JournalError::State(path.to_owned(), error);
            let kept: WrittenState<'_> = serde_json::from_str(line).map_err(failed)?;
            cloud.restore(kept.state.get()).map_err(failed)?;
        }
        let (mut count, mut bytes) = (0, 0);
        for (at, line) in lines {
            let (now, request) = read(line).ok_or_else(|| strange(at))?;
            if control::is_control(&request) {
                control::replay(cloud, now, &self.region, &request);
            } else {
                cloud.submit(now, request);
                cloud.advance(now);
            }
            (count, bytes) = (count + 1, bytes + line.len() as u64);
        }
        file.sync_data().map_err(broken)?;
        let open = Mutex::new(Open { file, since: None });
        let room = AtomicU64::new(least.saturating_sub(bytes));
        let journal = Arc::new(Journal { path: path.to_owned(), head, open, dirty: AtomicBool::new(false), room, least });
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

    /// Makes the file anew if it is time, while the cloud goes on; asked between two steps of the cloud, when all that was written is done.
    pub fn make_room(&self, cloud: &Cloud) {
        let Some(journal) = &self.journal else { return };
        if journal.room.load(Ordering::Relaxed) > 0 || journal.lock().since.is_some() {
            return;
        }
        let Some(state) = cloud.written() else { return };
        journal.lock().since = Some(Vec::new());
        let journal = Arc::clone(journal);
        std::thread::spawn(move || journal.make_anew(&state));
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

/// The line of a state.
#[derive(serde::Deserialize)]
struct WrittenState<'a> {
    #[serde(borrow)]
    state: &'a RawValue,
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

    fn keep(keeper: &mut Keeper, path: &Path, start: &Value, cloud: &mut Cloud) -> Result<usize, JournalError> {
        keeper.keep(path, start, at(0), cloud, |_, _| {})
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
        assert_eq!(keep(&mut keeper, &path, &start, &mut cloud).expect("a new file"), 0);
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
        assert_eq!(keep(&mut keeper, &path, &start, &mut again).expect("the same file"), 2, "reads are not kept");
        assert_eq!(send(&mut again, &keeper, 60, "Action=DescribeVpcs"), vpcs);
        assert_eq!(send(&mut again, &keeper, 60, asked), instances);
        send(&mut again, &keeper, 61, "Action=CreateVpc&CidrBlock=10.1.0.0/16");
        drop(keeper);
        let mut third = fresh();
        assert_eq!(keep(&mut Keeper::new("us-west-2", None), &path, &start, &mut third).expect("the same file"), 3);
        let other = keep(&mut Keeper::new("us-west-2", None), &path, &json!({"seed": 4}), &mut fresh());
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
        keep(&mut keeper, &path, &start, &mut cloud).expect("a new file");
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

        let kept = size();
        let (mut again, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        assert_eq!(keep(&mut keeper, &path, &start, &mut again).expect("the same file"), 3);
        let asked = format!("Action=ReceiveMessage&{queue}");
        assert!(!poll(&mut again, &mut keeper, 60, 1, &asked).contains("hello"), "it is in flight as it was");
        assert!(poll(&mut again, &mut keeper, 64, 2, &asked).contains("hello"), "and comes back when it was to");
        poll(&mut again, &mut keeper, 65, 3, "Action=CreateQueue&QueueName=r");
        assert!(size() > kept, "it is written on");
    }

    /// The state's file is made anew many times while requests come; at each of these moments and between them the process may die, and what
    /// is on the disk then is a cloud that has all that was answered.
    #[test]
    fn a_file_is_made_anew_and_is_whole_at_every_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let start = json!({"seed": 3});
        let (mut cloud, mut keeper) = (fresh(), Keeper::new("us-west-2", None));
        let least = 20_000;
        keeper.keep_within(least, &path, &start, at(0), &mut cloud, |_, _| {}).expect("a new file");
        let (mut made, mut states, mut largest, mut of_state) = (Vec::new(), 0, 0, 0);
        let asked = "Action=DescribeVpcs";
        for second in 1..1500 {
            if second % 100 == 0 {
                made.push(send(&mut cloud, &keeper, second, &format!("Action=CreateVpc&CidrBlock=10.{}.0.0/16", second / 100)));
            }
            send(&mut cloud, &keeper, second, "Action=CreateTags&ResourceId.1=vpc-none&Tag.1.Key=a&Tag.1.Value=b");
            keeper.make_room(&cloud);
            if second % 10 == 0 {
                // What is on the disk at this moment, with a new file that is half written beside it, and a line that was cut off.
                let text = std::fs::read_to_string(&path).expect("the file");
                largest = largest.max(text.len());
                if let Some(line) = text.lines().nth(1).filter(|line| line.starts_with("{\"state\"")) {
                    (states, of_state) = (states + 1, of_state.max(line.len()));
                }
                let copy = folder.path().join("copy");
                std::fs::write(&copy, format!("{text}{{\"now\":")).expect("a copy");
                std::fs::write(beside(&copy), &text[..text.len() / 2]).expect("half a file");
                let mut again = fresh();
                keep(&mut Keeper::new("us-west-2", None), &copy, &start, &mut again).expect("a whole file");
                let other = Keeper::new("us-west-2", None);
                assert_eq!(
                    send(&mut again, &other, second, asked),
                    send(&mut cloud, &Keeper::new("us-west-2", None), second, asked),
                    "at {second}"
                );
                // Descriptions count as requests, and are not kept.
                let state = |cloud: &Cloud| cloud.written().map(|text| text.split_once(',').expect("members").1.to_owned());
                assert_eq!(state(&again), state(&cloud), "at {second}");
            }
        }
        assert_eq!(made.len(), 14);
        assert!(states > 10, "the file was made anew: {states}");
        // As much as the state and what is let come after it; while a new file is written, as much again.
        assert!(largest < 2 * of_state.max(20_000) + of_state, "{largest} bytes, {of_state} of them the state");
    }

    #[test]
    fn two_clouds_do_not_keep_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let mut keeper = Keeper::new("us-west-2", None);
        keep(&mut keeper, &path, &json!({}), &mut fresh()).expect("a new file");
        let other = keep(&mut Keeper::new("us-west-2", None), &path, &json!({}), &mut fresh());
        assert!(matches!(other, Err(JournalError::Taken(_))), "{other:?}");
    }

    #[test]
    fn a_state_that_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        std::fs::write(&path, "{\"cloud\":{}}\n{\"state\":{\"tickets\":1}}\n").expect("written");
        let kept = keep(&mut Keeper::new("us-west-2", None), &path, &json!({}), &mut fresh());
        assert!(matches!(kept, Err(JournalError::State(..))), "{kept:?}");
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        std::fs::write(&path, "hello\n").expect("written");
        let kept = keep(&mut Keeper::new("us-west-2", None), &path, &json!({}), &mut fresh());
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
