//! What a call of the port has to tell beside its answer: lines for the log, in upstream's words, and what is counted.
//!
//! Nothing is sent anywhere: whoever makes the call [listens](listen), and knows which controller it was for. Outside of that, what is told
//! is lost.

use crate::port::CloudError;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    Debug,
    Info,
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Line {
        loudness: Loudness,
        message: &'static str,
        keys: Map<String, Value>,
        /// The controller that says it, where that is another than the one whose call it was.
        controller: Option<&'static str>,
    },
    /// A window of this batcher was open for so long (`A/pkg/batcher/metrics.go`).
    BatchWindow {
        batcher: &'static str,
        open: Duration,
    },
    /// Calls that became one.
    Batch {
        batcher: &'static str,
        size: usize,
    },
    /// Bytes of the user data of a NodeClass's last launch template; `None` when the class is gone.
    UserData {
        class: String,
        bytes: Option<usize>,
    },
    /// One pool of a fleet gave nothing, for this reason of [upstream's](crate::port::LaunchError).
    LaunchFailure {
        zone: String,
        zone_id: String,
        capacity_type: &'static str,
        reason: &'static str,
    },
    TerminationFailure {
        zone: String,
        zone_id: String,
    },
}

impl Report {
    fn line<const N: usize>(loudness: Loudness, message: &'static str, keys: [(&str, Value); N]) -> Self {
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Report::Line { loudness, message, keys, controller: None }
    }

    pub fn debug<const N: usize>(message: &'static str, keys: [(&str, Value); N]) -> Self {
        Self::line(Loudness::Debug, message, keys)
    }

    pub fn info<const N: usize>(message: &'static str, keys: [(&str, Value); N]) -> Self {
        Self::line(Loudness::Info, message, keys)
    }

    pub fn error<const N: usize>(message: &'static str, keys: [(&str, Value); N]) -> Self {
        Self::line(Loudness::Error, message, keys)
    }

    /// A call failed; the error's parts are keys of their own, as upstream has them.
    pub fn failure(message: &'static str, error: &CloudError) -> Self {
        error
            .keys()
            .into_iter()
            .fold(Self::error(message, [("error", error.in_full().into())]), |report, (key, value)| report.with(key, value))
    }

    /// One key more.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Report::Line { keys, .. } = &mut self {
            keys.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Said by nobody's controller: upstream does it in the background.
    pub fn by(mut self, name: &'static str) -> Self {
        if let Report::Line { controller, .. } = &mut self {
            *controller = Some(name);
        }
        self
    }
}

tokio::task_local! {
    static HEARD: RefCell<Vec<Report>>;
}

pub fn tell(report: Report) {
    let _ = HEARD.try_with(|heard| heard.borrow_mut().push(report));
}

/// Runs a call; its answer, and what it told on the way, in order.
pub async fn listen<F: Future>(call: F) -> (F::Output, Vec<Report>) {
    HEARD
        .scope(RefCell::default(), async {
            let answer = call.await;
            (answer, HEARD.with(RefCell::take))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_hears_its_own() {
        let talk = |class: &'static str| {
            listen(async move {
                for bytes in 0..2 {
                    tell(Report::UserData { class: class.to_owned(), bytes: Some(bytes) });
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        let ((_, a), (_, b)) = futures::future::join(talk("a"), talk("b")).await;
        let classes = |all: &[Report]| all.iter().map(|r| format!("{r:?}")).collect::<String>();
        assert_eq!((a.len(), classes(&a).contains("\"b\""), b.len(), classes(&b).contains("\"a\"")), (2, false, 2, false));
        tell(Report::debug("to nobody", []));
    }
}
