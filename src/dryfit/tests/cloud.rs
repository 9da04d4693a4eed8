//! `dryfit cloud` as a process: its control takes every fault of the docs' table; with `--state` it is killed at any moment, its file's end is
//! cut off, and it comes back with all that it had answered.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Cloud {
    child: Child,
    address: String,
}

impl Cloud {
    fn start(state: &Path) -> Cloud {
        Self::with(&["--state".as_ref(), state.as_os_str()])
    }

    fn with(more: &[&std::ffi::OsStr]) -> Cloud {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dryfit"));
        command.args(["cloud", "--listen", "127.0.0.1:0"]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("an address: {line:?}")).to_owned();
        Cloud { child, address }
    }

    /// The body of an answer; none if the cloud died over it.
    fn ask(&self, form: &str) -> Option<String> {
        self.ask_of("ec2", &format!("{form}&Version=2016-11-15"))
    }

    fn ask_of(&self, service: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20261120/us-west-2/{service}/aws4_request, SignedHeaders=host, Signature=00");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: cloud\r\nauthorization: {scope}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("</").then_some(answer)
    }

    fn vpcs(&self) -> BTreeSet<String> {
        ids(&self.ask("Action=DescribeVpcs").expect("an answer"))
    }

    /// As `kill -9` does it.
    fn kill(self) {}
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ids(answer: &str) -> BTreeSet<String> {
    answer.split("<vpcId>").skip(1).filter_map(|rest| rest.split('<').next()).map(str::to_owned).collect()
}

#[test]
fn what_was_answered_is_there_after_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let (mut answered, mut sent) = (BTreeSet::new(), 0);
    for round in 0_u64..8 {
        let cloud = Cloud::start(&state);
        let found = cloud.vpcs();
        assert!(found.is_superset(&answered), "round {round}: {answered:?} of {found:?}");
        // What was sent and not answered may be there or not.
        assert!(found.len() <= 1 + sent, "round {round}: {} of {sent}", found.len());
        answered = found;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut made, mut sent) = (BTreeSet::new(), 0);
                for at in 0..200 {
                    sent += 1;
                    let Some(answer) = cloud.ask(&format!("Action=CreateVpc&CidrBlock=10.{round}.{at}.0/24")) else { break };
                    made.extend(ids(&answer));
                }
                (made, sent)
            });
            std::thread::sleep(std::time::Duration::from_millis(20 + 37 * round));
            let process = cloud.child.id().to_string();
            let killed = Command::new("kill").args(["-9", &process]).status().expect("kill runs");
            assert!(killed.success());
            let (made, tried) = writer.join().expect("the writer ends");
            answered.extend(made);
            sent += tried;
        });
        cloud.kill();
    }
    assert!(answered.len() > 8, "{answered:?}");
}

/// Sends forms over one connection, and reads each answer whole; `None` when the cloud has died over it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn ask(&mut self, form: &str) -> Option<String> {
        let scope = "AWS4-HMAC-SHA256 Credential=test/20261120/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=00";
        let head = format!(
            "POST / HTTP/1.1\r\nhost: cloud\r\nauthorization: {scope}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            form.len()
        );
        self.0.get_mut().write_all(format!("{head}{form}").as_bytes()).ok()?;
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        String::from_utf8(body).ok()
    }
}

/// Calls that change nothing, between some that do, until the file was made anew several times; killed meanwhile, again and again.
#[test]
fn a_file_does_not_grow_for_ever_and_is_whole_whenever_the_cloud_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let tags: String = (1..40).map(|at| format!("&Tag.{at}.Key=key-{at}&Tag.{at}.Value={}", "v".repeat(60))).collect();
    let (mut answered, mut sent, mut largest, mut anew) = (BTreeSet::new(), 0, 0, 0);
    for round in 0_u64..6 {
        let cloud = Cloud::start(&state);
        let found = cloud.vpcs();
        assert!(found.is_superset(&answered), "round {round}: {answered:?} of {found:?}");
        let vpc = found.first().expect("the default one").clone();
        answered = found;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut made, mut bytes) = (BTreeSet::new(), 0);
                let mut connection = Connection(BufReader::new(TcpStream::connect(&cloud.address).expect("a connection")));
                for at in 0..1500 {
                    let form = format!("Action=CreateTags&Version=2016-11-15&ResourceId.1={vpc}{tags}");
                    bytes += form.len();
                    let Some(_) = connection.ask(&form) else { break };
                    if at % 20 == 0 {
                        let form = format!("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.{round}.{}.0/24", at / 20);
                        let Some(answer) = connection.ask(&form) else { break };
                        made.extend(ids(&answer));
                    }
                }
                (made, bytes)
            });
            std::thread::sleep(std::time::Duration::from_millis(400 + 270 * round));
            let killed = Command::new("kill").args(["-9", &cloud.child.id().to_string()]).status().expect("kill runs");
            assert!(killed.success());
            let (made, bytes) = writer.join().expect("the writer ends");
            answered.extend(made);
            sent += bytes;
        });
        cloud.kill();
        let text = std::fs::read_to_string(&state).expect("the file");
        largest = largest.max(text.len());
        anew += usize::from(text.lines().nth(1).is_some_and(|line| line.starts_with("{\"state\":")));
    }
    let cloud = Cloud::start(&state);
    assert!(cloud.vpcs().is_superset(&answered));
    assert!(anew > 0 && sent > 2 * largest, "{anew} times, {sent} bytes sent, {largest} the largest file");
}

#[test]
fn a_file_that_was_cut_anywhere_in_its_last_line_is_good_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let cloud = Cloud::start(&state);
    cloud.ask("Action=CreateVpc&CidrBlock=10.0.0.0/16").expect("an answer");
    let before = cloud.vpcs();
    cloud.ask("Action=CreateVpc&CidrBlock=10.1.0.0/16").expect("an answer");
    cloud.kill();
    let whole = std::fs::read(&state).expect("the file");
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    for cut in [last, last + 1, usize::midpoint(last, whole.len()), whole.len() - 1] {
        std::fs::write(&state, &whole[..cut]).expect("a cut file");
        let cloud = Cloud::start(&state);
        assert_eq!(cloud.vpcs(), before, "cut at {cut} of {}", whole.len());
        cloud.kill();
    }
}

/// The fault column of the table in docs/scenarios.md, of rows that a running cloud can be asked for.
fn faults() -> Vec<String> {
    let docs = std::fs::read_to_string(common::root().join("docs/scenarios.md")).expect("the docs");
    let (_, table) = docs.split_once("### What the cloud does, in three ways").expect("the heading");
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with("| "));
    let asked = |row: &&str| !row.trim_matches('|').split(" | ").nth(3).expect("a cell").trim().starts_with("none: ");
    let fault = |row: &str| row.trim_matches('|').split(" | ").nth(2).expect("a cell").trim().to_owned();
    rows.filter(asked).map(fault).filter_map(|cell| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned())).collect()
}

#[test]
fn a_running_cloud_takes_every_fault_of_the_table() {
    let faults = faults();
    assert!(faults.len() > 20, "{faults:?}");
    for fault in faults {
        let cloud = Cloud::with(&[]);
        cloud.ask_of("sqs", "Action=CreateQueue&QueueName=lab&Version=2012-11-05").expect("a queue");
        let image = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
        let run = format!(
            "Action=RunInstances&ImageId={image}&InstanceType=m5.large&MinCount=1&MaxCount=1&InstanceMarketOptions.MarketType=spot\
             &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=karpenter.sh%2Fnodepool&TagSpecification.1.Tag.1.Value=default"
        );
        assert!(cloud.ask(&run).expect("an answer").contains("<instanceId>"));
        let address = format!("http://{}", cloud.address);
        common::dryfit(&["cloud", "ctl", "--cloud", &address, "fault", &fault]).exits(0).says("done");
        cloud.kill();
    }
}
