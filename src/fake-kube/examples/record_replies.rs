//! Asks a real kube-apiserver the requests in `tests/replay/*.json` and writes its replies beside them.
//!
//!     cargo run -p fake-kube --example record_replies -- https://127.0.0.1:6443 TOKEN [FILE…]
//!
//! The server should be fresh, with the definitions of src/api/crds, without controllers: `kube-apiserver` over an empty etcd. Uses `curl`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(token)) = (arguments.next(), arguments.next()) else {
        return Err("usage: record_replies URL TOKEN [FILE…]".into());
    };
    let mut files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if files.is_empty() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/replay");
        files = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        files.sort();
    }
    for file in files {
        let mut script: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let mut kept = BTreeMap::new();
        for step in script["steps"].as_array_mut().into_iter().flatten() {
            let (code, body) = ask(&server, &token, step, &kept)?;
            let reply = read(body);
            if let (Some(name), Some(version)) = (step["keep"].as_str(), reply["metadata"]["resourceVersion"].as_str()) {
                kept.insert(format!("${name}"), version.to_owned());
            }
            step["code"] = json!(code);
            step["reply"] = strip(reply, step["managed"] == true);
            // A definition is served a moment after it is accepted, and a quota is admission's a moment later.
            if step["do"].as_str().is_some_and(|line| line.contains("customresourcedefinitions") || line.contains("/resourcequotas")) {
                std::thread::sleep(Duration::from_secs(2));
            }
        }
        std::fs::write(&file, lines(&script)?)?;
    }
    Ok(())
}

/// A document, a stream of them as a list, or text.
fn read(text: String) -> Value {
    let lines = || text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    serde_json::from_str(&text)
        .ok()
        .or_else(|| lines().ok().filter(|lines| !lines.is_empty()).map(Value::Array))
        .unwrap_or(Value::String(text))
}

/// `kept`: what stands for resourceVersions that earlier replies had.
fn ask(server: &str, token: &str, step: &Value, kept: &BTreeMap<String, String>) -> Result<(u16, String), Box<dyn std::error::Error>> {
    let told = |text: &str| kept.iter().fold(text.to_owned(), |text, (name, version)| text.replace(name, version));
    let (method, path) = step["do"].as_str().and_then(|line| line.split_once(' ')).ok_or("a step says METHOD PATH")?;
    let path = told(path);
    let mut command = Command::new("curl");
    // `pretty` is what the server does for curl and browsers alone.
    command.args(["-sk", "-A", "replay", "-X", method, "-w", "\n%{http_code}", "-H"]).arg(format!("Authorization: Bearer {token}"));
    let header = |key: &str, default: &str| step[key].as_str().unwrap_or(default).to_owned();
    command.args([
        "-H",
        &format!("Content-Type: {}", header("type", "application/json")),
        "-H",
        &format!("Accept: {}", header("accept", "application/json")),
    ]);
    if let Some(bytes) = step["bytes"].as_str() {
        // What is no text goes through a file.
        let file = std::env::temp_dir().join(format!("replay-body-{}", std::process::id()));
        std::fs::write(&file, base64::engine::general_purpose::STANDARD.decode(bytes)?)?;
        command.arg("--data-binary").arg(format!("@{}", file.display()));
    } else if let Some(body) = step.get("body") {
        command.arg("-d").arg(told(&body.as_str().map_or_else(|| body.to_string(), str::to_owned)));
    }
    let output = command.arg(format!("{server}{path}")).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (body, code) = text.rsplit_once('\n').ok_or("curl said no code")?;
    Ok((code.trim().parse()?, body.to_owned()))
}

/// Without managed fields where they are not the question, so that the file stays small.
fn strip(mut value: Value, managed: bool) -> Value {
    match &mut value {
        Value::Object(map) => {
            if !managed {
                map.shift_remove("managedFields");
            }
            map.values_mut().for_each(|inner| *inner = strip(inner.take(), managed));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| *inner = strip(inner.take(), managed)),
        _ => {}
    }
    value
}

/// One step a line.
fn lines(script: &Value) -> Result<String, serde_json::Error> {
    let steps: Result<Vec<String>, _> = script["steps"].as_array().into_iter().flatten().map(serde_json::to_string).collect();
    Ok(format!("{{\"about\":{},\"steps\":[\n{}\n]}}\n", script["about"], steps?.join(",\n")))
}
