//! `dryfit catalog` and what `dryfit cloud` does with its files; the control of Spot prices.

mod common;

use common::dryfit;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A cloud on a free port, until it is dropped.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dryfit"))
            .args(["cloud", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the cloud starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let url = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, url }
    }

    fn refresh(&self, file: &Path) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_dryfit"))
            .args(["catalog", "refresh", "--region", "us-west-2", "--output"])
            .arg(file)
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .expect("the program runs")
    }

    fn ctl(&self, arguments: &[&str]) -> common::Ran {
        let all: Vec<&str> = ["cloud", "ctl"].into_iter().chain(arguments.iter().copied()).chain(["--cloud", &self.url]).collect();
        dryfit(&all)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_read_from_a_cloud_is_what_it_has_and_makes_the_same_cloud() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first.json"), folder.path().join("second.json"));
    let read = Served::start(&[]).refresh(&first);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let named = first.display().to_string();
    // Types, zones, prices and every detail are those built in; Spot differs by zone, since its price is derived.
    let changes = dryfit(&["catalog", "diff", "us-west-2", &named, "--json"]);
    let changes: serde_json::Value = serde_json::from_str(&changes.out).expect("JSON");
    let others: Vec<_> =
        changes.as_array().expect("a list").iter().filter(|change| !change["what"].to_string().contains("spot ")).collect();
    assert!(others.is_empty(), "{:?}", &others[..others.len().min(5)]);
    // Another seed would have other Spot prices, but for the file.
    let again = Served::start(&["--catalog", &named, "--seed", "99"]).refresh(&second);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    dryfit(&["catalog", "diff", &named, &second.display().to_string()]).exits(0).says("0 differences");
}

#[test]
fn a_list_is_filtered_and_a_difference_is_told() {
    let listed = dryfit(&["catalog", "list", "us-west-2", "--types", "m5.*", "--vcpus", "2", "--zones", "us-west-2a"]);
    listed.exits(0).says("m5.large 2 8 GiB $0.096000").says("1 types of us-west-2");
    dryfit(&["catalog", "list", "us-east-1", "--types", "m5*.large", "--most", "0.09", "--json"]).exits(0).says("m5a.large");
    dryfit(&["catalog", "diff", "us-east-1", "eu-west-1"]).exits(1).says("~ m5.large on-demand: 0.096000 -> 0.107040");
    dryfit(&["catalog", "list", "us-wets-2"]).exits(2).says("nor a region");
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.json");
    for (text, says) in [
        ("{", "not a catalogue"),
        (r#"{"catalogue": 9, "region": "us-west-2", "types": {}}"#, "a catalogue of version 9"),
        (r#"{"catalogue": 1, "region": "us-west-2", "types": {"x1.y": {"zones": ["mars-1a"], "details": {}}}}"#, "has no zone mars-1a"),
        (r#"{"catalogue": 1, "region": "us-west-2", "types": {"x1.y": {"zones": [], "details": {}}}}"#, "its details are not"),
    ] {
        std::fs::write(&broken, text).expect("a file");
        dryfit(&["cloud".as_ref(), "--listen".as_ref(), "127.0.0.1:0".as_ref(), "--catalog".as_ref(), broken.as_os_str()])
            .exits(2)
            .says(says);
    }
    std::fs::write(&broken, r#"{"catalogue": 1, "region": "eu-west-1", "types": {}}"#).expect("a file");
    dryfit(&["cloud".as_ref(), "--catalog".as_ref(), broken.as_os_str()]).exits(2).says("a catalogue of eu-west-1, asked for us-west-2");
}

#[test]
fn spot_prices_are_told_and_set_by_the_control() {
    let cloud = Served::start(&["--spot", "{prices: {m5.large: $0.031}}"]);
    cloud.ctl(&["spot", "m5.large"]).exits(0).says("\"us-west-2a\": \"0.031000\"");
    cloud.ctl(&["spot", "--set", "{moves: 30%, every: 1h}"]).exits(0).says("\"moving\": true");
    cloud.ctl(&["spot", "--set", "{moves: lots}"]).exits(2).says("such as 20%");
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("prices.csv");
    std::fs::write(&trace, "timestamp,instance_type,availability_zone,spot_price\n+0s,c5.large,us-west-2b,0.02\n").expect("a file");
    cloud.ctl(&["spot", "--trace", &trace.display().to_string()]).exits(0).says("\"tracedPools\": 1");
    cloud.ctl(&["spot", "c5.large"]).exits(0).says("\"us-west-2b\": \"0.020000\"");
    cloud.ctl(&["fault", "spot-price: {types: [c5.large], price: $0.04}"]).exits(0).says("spot-price 1");
    cloud.ctl(&["spot", "c5.large"]).exits(0).says("\"us-west-2b\": \"0.040000\"");
    cloud.ctl(&["deliveries"]).exits(0).says("\"deliveries\": []");
}
