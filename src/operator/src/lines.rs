//! The log: one JSON object per line, as upstream's logger writes them (`C/pkg/operator/logging/logging.go`).

use crate::settings::{LogLevel, Output};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where lines go, and where it is said that they cannot be written.
struct Outputs {
    lines: Vec<Box<dyn Write + Send>>,
    errors: Vec<Box<dyn Write + Send>>,
}

/// Writes events as lines. The controller's own carry `keys`, a JSON object, whose members become the line's.
pub struct Lines {
    level: LogLevel,
    outputs: Mutex<Outputs>,
    now: fn() -> Timestamp,
}

impl Lines {
    /// `errors` hear of what cannot be written to `outputs` (zap's `ErrorOutputPaths`). `Err` when a file cannot be opened.
    pub fn open(level: LogLevel, outputs: &[Output], errors: &[Output], now: fn() -> Timestamp) -> std::io::Result<Self> {
        let open = |output: &Output| -> std::io::Result<Box<dyn Write + Send>> {
            Ok(match output {
                Output::Stdout => Box::new(std::io::stdout()),
                Output::Stderr => Box::new(std::io::stderr()),
                Output::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            })
        };
        let lines = outputs.iter().map(open).collect::<std::io::Result<_>>()?;
        let errors = errors.iter().map(open).collect::<std::io::Result<_>>()?;
        Ok(Lines { level, outputs: Mutex::new(Outputs { lines, errors }), now })
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    controller: String,
    keys: Map<String, Value>,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "controller" => value.clone_into(&mut self.controller),
            "message" => value.clone_into(&mut self.message),
            "keys" => self.keys = serde_json::from_str(value).unwrap_or_default(),
            name => drop(self.others.insert(name.to_owned(), value.into())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The line, or nothing where the level asks for less.
fn line(level: LogLevel, at: Timestamp, event: &Event<'_>) -> Option<String> {
    let metadata = event.metadata();
    // Libraries speak of themselves; only what goes wrong in them is of use.
    let own = metadata.target().starts_with("controller") || metadata.target().starts_with("operator");
    let (said, text) = match *metadata.level() {
        Level::ERROR => (LogLevel::Error, "ERROR"),
        Level::WARN => (LogLevel::Error, "ERROR"),
        Level::INFO if own => (LogLevel::Info, "INFO"),
        Level::DEBUG if own => (LogLevel::Debug, "DEBUG"),
        _ => return None,
    };
    if said < level {
        return None;
    }
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut line = Map::new();
    line.insert("level".into(), text.into());
    line.insert("time".into(), at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string().into());
    line.insert("logger".into(), "controller".into());
    line.insert("message".into(), fields.message.into());
    if !fields.controller.is_empty() {
        line.insert("controller".into(), fields.controller.into());
    }
    line.extend(fields.keys);
    line.extend(fields.others);
    Some(json!(line).to_string())
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = (self.now)();
        let Some(line) = line(self.level, now, event) else { return };
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let Outputs { lines, errors } = &mut *outputs;
        for output in lines {
            if let Err(error) = writeln!(output, "{line}").and_then(|()| output.flush()) {
                // Where not even that can be written there is no place left to say so.
                errors.iter_mut().for_each(|place| drop(writeln!(place, "{now} write error: {error}").and_then(|()| place.flush())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::prelude::*;

    #[test]
    fn what_cannot_be_written_is_told_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("errors");
        // A device that is always full.
        let full = Output::File("/dev/full".into());
        let lines = Lines::open(LogLevel::Info, &[full], &[Output::File(path.clone())], || Timestamp::UNIX_EPOCH).expect("open");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            controller::log::Line::info("provisioner", "created nodeclaim").emit();
        });
        let text = std::fs::read_to_string(path).expect("lines");
        assert!(text.starts_with("1970-01-01T00:00:00Z write error: No space left"), "{text}");
    }

    #[test]
    fn lines_are_json_with_the_keys_on_top() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let at = || Timestamp::from_second(1_700_000_000).expect("a time");
        let lines = Lines::open(LogLevel::Info, &[Output::File(path.clone())], &[], at).expect("open");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let said = controller::log::Line::info("provisioner", "created nodeclaim").object("NodePool", "", "default").with("pods", 3);
            said.emit();
            controller::log::Line::debug("provisioner", "too much").emit();
            tracing::info!(target: "hyper", "a library's");
            tracing::warn!(target: "kube", error = "no route", "watch failed");
        });
        let text = std::fs::read_to_string(path).expect("lines");
        insta::assert_snapshot!(text, @r#"
        {"level":"INFO","time":"2023-11-14T22:13:20.000Z","logger":"controller","message":"created nodeclaim","controller":"provisioner","NodePool":{"name":"default"},"pods":3}
        {"level":"ERROR","time":"2023-11-14T22:13:20.000Z","logger":"controller","message":"watch failed","error":"no route"}
        "#);
    }
}
