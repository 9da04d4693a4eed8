//! The controller of a world: ours, or upstream's as a process. And what it says, for the timeline.

use super::WorldError;
use super::operator::Operator;
use crate::local::{Pods, UpstreamController};
use crate::observe::Observer;
use crate::timeline::Event;
use crate::trace::Trace;
use controller::log::Level;
use controller::record::{Decision, What};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub enum Running {
    /// Not started yet.
    None,
    BuiltIn {
        operator: Operator,
        errors: Arc<Mutex<Vec<String>>>,
    },
    Upstream(UpstreamController),
    /// As the containers of its pods.
    Pods {
        pods: Pods,
        upstream: bool,
    },
}

impl Running {
    pub fn name(&self) -> &'static str {
        match self {
            Running::None => "no controller",
            Running::BuiltIn { .. } => "built-in controller",
            Running::Upstream(_) => "upstream's controller",
            Running::Pods { upstream: true, .. } => "upstream's controller in its pods",
            Running::Pods { .. } => "controller in its pods",
        }
    }

    pub fn unsettled(&self) -> Vec<String> {
        match self {
            Running::BuiltIn { operator, .. } => operator.unsettled(),
            Running::None | Running::Upstream(_) | Running::Pods { .. } => Vec::new(),
        }
    }

    /// Of ours.
    pub fn handle(&self) -> Option<controller::Handle> {
        match self {
            Running::BuiltIn { operator, .. } => Some(operator.handle()),
            Running::None | Running::Upstream(_) | Running::Pods { .. } => None,
        }
    }

    /// What will come by itself, and when.
    pub fn upcoming(&self) -> Vec<(jiff::Timestamp, String)> {
        match self {
            Running::BuiltIn { operator, .. } => operator.upcoming(),
            Running::None | Running::Upstream(_) | Running::Pods { .. } => Vec::new(),
        }
    }

    /// How often our controller crashed, as it was told to.
    pub fn crashes(&self) -> u64 {
        match self {
            Running::BuiltIn { operator, .. } => operator.crashes(),
            Running::None | Running::Upstream(_) | Running::Pods { .. } => 0,
        }
    }

    /// The metrics of the moment, as text; `None` when nobody answers.
    pub async fn metrics(&self) -> Option<String> {
        match self {
            Running::None => None,
            Running::BuiltIn { operator, .. } => operator.handle().metrics().await,
            Running::Upstream(process) => process.scrape().await.ok(),
            Running::Pods { pods, .. } => pods.scrape().await,
        }
    }

    /// ERROR lines so far.
    pub fn errors(&self) -> Vec<String> {
        match self {
            Running::None => Vec::new(),
            Running::BuiltIn { errors, .. } => errors.lock().map(|lines| lines.clone()).unwrap_or_default(),
            Running::Upstream(process) => outcries(process.log_lines().unwrap_or_default()),
            Running::Pods { pods, .. } => outcries(pods.log_lines()),
        }
    }

    pub fn check(&self) -> Result<(), WorldError> {
        match self {
            Running::Upstream(process) => Ok(process.check()?),
            // What becomes of a pod's process is its kubelet's business.
            Running::None | Running::BuiltIn { .. } | Running::Pods { .. } => Ok(()),
        }
    }

    pub fn end(&mut self) {
        // The kubelets know the processes as well.
        if let Running::Pods { pods, .. } = self {
            pods.end();
        }
        *self = Running::None;
    }
}

/// The lines of a log that tell of an error.
fn outcries(lines: Vec<String>) -> Vec<String> {
    let level = |line: &str| serde_json::from_str::<Value>(line).ok().and_then(|v| Some(v["level"].as_str()?.to_owned()));
    // A line that is no JSON object is a panic's or a library's outcry.
    lines.into_iter().filter(|line| level(line).is_none_or(|level| level == "ERROR")).collect()
}

/// Where our controller's record goes: into the trace whole, into the timeline as far as people care.
pub fn record(observer: Observer, trace: Trace, errors: Arc<Mutex<Vec<String>>>) -> controller::settings::Observer {
    Arc::new(move |decision: Decision| {
        trace.record(decision.at, "decision", || serde_json::to_value(&decision.what).unwrap_or_default());
        observer.lock().watch.decided(&decision);
        match &decision.what {
            // A plan that launches nothing repeats what is known: pods that wait are planned again every ten seconds.
            What::Planned { plan, explanation, .. } if !plan.launches.is_empty() => {
                let mut because: Vec<(usize, String)> = Vec::new();
                for line in planner::render(explanation).lines() {
                    match because.iter_mut().find(|(_, known)| known == line) {
                        Some((times, _)) => *times += 1,
                        None => because.push((1, line.to_owned())),
                    }
                }
                let because =
                    because.into_iter().map(|(times, line)| if times > 1 { format!("{times} times: {line}") } else { line }).collect();
                observer.lock().timeline.push(decision.at, Event::Batched { pods: explanation.pods.len() }, because);
            }
            What::Log(line) if line.level == Level::Error => {
                if let Ok(mut errors) = errors.lock() {
                    errors.push(format!("{}: {} {}", line.controller, line.message, Value::Object(line.keys.clone())));
                }
            }
            _ => {}
        }
    })
}

/// Settings of a scenario under the names of upstream's environment variables. A name that ours does not read is an error, and so is
/// one that would change nothing: whoever writes it expects something of it.
pub fn configure(
    settings: &mut controller::Settings,
    cloud: &mut cloud::Settings,
    given: &BTreeMap<String, String>,
) -> Result<(), WorldError> {
    let named = BTreeMap::from([("CLUSTER_NAME".to_owned(), settings.cluster_name.clone())]);
    let wrong = |mistakes: Vec<operator::Mistake>| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("given.controller.settings.{mistake}")).collect();
        WorldError::Controller(lines.join("\n"))
    };
    let mut options = operator::Options::read(&named).map_err(wrong)?;
    (options.controller, options.cloud) = (settings.clone(), cloud.clone());
    options.apply(given).map_err(wrong)?;
    if let Some(name) = options.without_effect.first() {
        return Err(WorldError::Controller(format!("given.controller.settings.{name}: the built-in controller does nothing with it")));
    }
    (*settings, *cloud) = (options.controller, options.cloud);
    Ok(())
}
