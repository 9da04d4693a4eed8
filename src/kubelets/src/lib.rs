//! Hollow kubelets: turn running machines into Nodes and run their pods.
//!
//! Machines come through a port ([`Machines`]); everything else goes through a [`kube::Client`], so the same code serves a real API
//! server and an embedded one. A machine joins only if its user data would make a real one join; its console says why when it does
//! not. By themselves they execute nothing: pods go through their life by the clock, with times drawn from named streams. A container that is
//! a real process is run by a second port ([`Processes`]), and its status tells what became of it.
//!
//! May touch: `kube`, `ambient`, `scheduler`, whose rules a kubelet asks once more. Must never touch: the controller, the planner, any cloud.
//!
//! - [`machine`]: what a kubelet knows of its machine, and the port that it comes through
//! - [`profile`]: how long things take, and which heartbeats are written
//! - [`boot`]: user data in, a kubelet's configuration out, or why there is none
//! - [`capacity`]: what a machine offers, and what is left for pods
//! - [`node`]: the Node object
//! - [`admission`]: whether a kubelet takes a pod that is bound to its node
//! - [`pod`]: a pod's life by the clock, and the status that tells it
//! - [`process`]: containers that are real processes, and the port that runs them
//! - `words`: what kubelets say, as events
//! - [`run`]: the loop that watches, waits and writes

pub mod admission;
pub mod boot;
pub mod capacity;
pub mod machine;
pub mod node;
pub mod pod;
pub mod process;
pub mod profile;
mod quantity;
pub mod run;
mod words;

pub use machine::{Architecture, ImageFamily, Machine, Machines, State};
pub use node::Problem;
pub use process::Processes;
pub use profile::{Cluster, Heartbeats, Profile, Range};
pub use run::{Handle, Kubelets};
