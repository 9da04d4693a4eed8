//! Containers that are real processes, and the port that runs them.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use crate::pod::environment::expand;

/// Where processes come from. A world that starts none has [`Hollow`].
pub trait Processes: Send + Sync {
    /// Whether a container of this image is a process here; always the same answer for the same image.
    fn runs(&self, image: &str) -> bool;

    /// Starts it, anew if it ran before. The error says in words why it does not start.
    fn start(&self, order: Order) -> BoxFuture<'static, Result<(), String>>;

    /// Asks it to end (SIGTERM), and ends it (SIGKILL) when the grace is over. Asked again, the shorter grace counts. Of a process that
    /// is not there nothing happens.
    fn stop(&self, id: &Id, grace: SignedDuration);

    /// Asks its probe once; the error is what a kubelet says of the failure.
    fn probe(&self, id: &Id, probe: &Probe) -> BoxFuture<'static, Result<(), String>>;

    /// Those that have ended since the last call, in the order in which they did.
    fn ended(&self) -> Vec<(Id, Exit)>;

    /// Resolves at the first end after this call, never before; whoever takes the future first and then looks misses nothing.
    fn changed(&self) -> BoxFuture<'static, ()>;
}

/// A container of a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Id {
    /// The pod's.
    pub uid: String,
    pub container: String,
}

/// What is to be started.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    pub id: Id,
    pub namespace: String,
    pub pod: String,
    pub service_account: String,
    /// As the pod has it: its ports, for one.
    pub container: Container,
    /// `command` and `args` with their variables filled in.
    pub command: Vec<String>,
    pub arguments: Vec<String>,
    /// All that the pod says of it.
    pub environment: BTreeMap<String, String>,
}

impl Order {
    /// With the variables of `command` and `args` filled in.
    pub fn of(id: Id, pod: &Pod, container: Container, environment: BTreeMap<String, String>) -> Order {
        let fill = |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand(word, &environment)).collect();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        Order {
            id,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
            service_account: account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
            command: fill(&container.command),
            arguments: fill(&container.args),
            container,
            environment,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Its own code, or 128 and the signal that ended it.
    pub code: i32,
    pub at: Timestamp,
}

/// No container is a process.
pub struct Hollow;

impl Processes for Hollow {
    fn runs(&self, _: &str) -> bool {
        false
    }

    fn start(&self, _: Order) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing is executed here".to_owned())))
    }

    fn stop(&self, _: &Id, _: SignedDuration) {}

    fn probe(&self, _: &Id, _: &Probe) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self) -> Vec<(Id, Exit)> {
        Vec::new()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}
