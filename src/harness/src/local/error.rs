//! What can go wrong with child processes, each with its remedy. All of it is the environment's fault: exit code 3.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no {} in {}; build the control plane with `ci/judges/build` (it prints its folder and remembers it), or name a folder \
         with --control-plane DIR or DRYFIT_CONTROL_PLANE",
        missing.join(", "),
        looked.display()
    )]
    BinariesMissing { looked: PathBuf, missing: Vec<String> },

    #[error("{component} ended early ({status}); its log is {}, which ends with:\n{tail}\n{remedy}", log.display())]
    DiedEarly { component: String, status: String, log: PathBuf, tail: String, remedy: &'static str },

    #[error(
        "{component} was not ready after {} s ({last}); its log is {}, which ends with:\n{tail}\nIf the machine is only busy, \
         try again; otherwise the log says why",
        after.as_secs(),
        log.display()
    )]
    NotReady { component: String, after: Duration, last: String, log: PathBuf, tail: String },

    #[error("failed to {doing}")]
    Io { doing: String, source: std::io::Error },

    #[error("failed to make the control plane's certificates")]
    Certificates(#[from] rcgen::Error),

    #[error("failed to {doing}")]
    Kube { doing: String, source: Box<kube::Error> },

    #[error("failed to install the CustomResourceDefinition {name}: {why}")]
    Crd { name: String, why: String },
}

impl Error {
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }

    pub(super) fn kube(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Kube { doing, source: Box::new(source) }
    }

    /// Another process took a port between our choosing it and the component's listening on it: worth another attempt.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Error::DiedEarly { tail, .. } if tail.contains("address already in use"))
    }
}
