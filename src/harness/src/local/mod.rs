//! A real control plane, and an unmodified upstream controller, as child processes on loopback.
//!
//! [`ControlPlane`] is etcd, kube-apiserver, kube-controller-manager and kube-scheduler; [`UpstreamController`] is Karpenter as
//! its authors wrote it; [`Pods`] are such controllers as their pods' containers. All need binaries that `ci/judges/build` makes ([`binaries`] finds them). No process outlives us,
//! whatever ends us ([`process`] says how).
//!
//! May touch: processes, files below the given work folder, loopback ports. Must never touch: scenarios, verdicts, the fakes.

mod binaries;
mod control_plane;
mod credentials;
mod error;
mod pods;
mod ports;
mod process;
mod upstream;

#[cfg(test)]
mod tests;

pub use binaries::{Binary, find_binaries};
pub use control_plane::{ControlPlane, Options};
pub use error::Error;
pub use pods::{PodOptions, Pods, is_controllers};
pub use upstream::{UpstreamController, UpstreamOptions};
