//! The controller itself: watches a cluster, plans, and makes the plan true.
//!
//! One task decides. Changes and replies come to it through one channel, in order; it asks the pure functions of [`decide`] what
//! to do about each piece of work, and starts the effects they name. Every effect has a number from one sequence and runs as its
//! own task; its reply is a change like any other. Time is a [`Clock`](ambient::Clock), chance an [`Entropy`](ambient::Entropy):
//! the same changes at the same times give the same effects.
//!
//! May touch: `vocabulary`, `api`, `ambient`, `planner`, `cluster`, `cloud`, kube, tokio. Must never touch: the fakes, the harness.
//!
//! Map: [`Controller`] and [`Handle`] are for others; [`settings`] and [`record`] are what they set and see. Inside, `shell` is the
//! loop, [`work`] its queue, [`step`] what a decision yields, [`effect`] what can be done, `perform` does it; [`world`] is what is
//! known, [`disruption`] what the disruption of nodes remembers, [`conditions`] and [`patch`] are how objects are written, [`recorder`] and [`log`] how things are said, [`metrics`] how they are counted.

pub mod batcher;
pub mod conditions;
pub mod decide;
pub mod disruption;
pub mod effect;
mod handle;
pub mod log;
pub mod metrics;
pub mod patch;
mod perform;
pub mod record;
pub mod recorder;
pub mod settings;
mod shell;
pub mod step;
mod unsettled;
mod watch;
pub mod work;
pub mod world;

pub use handle::Handle;
pub use record::{Decision, What};
pub use settings::{CrashPoint, LeaderElection, Settings, Tamper};
pub use shell::{Controller, Stopped};
