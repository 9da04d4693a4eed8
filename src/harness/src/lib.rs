//! Turns a scenario into a verdict: reads it, builds its world, drives time, observes, checks, reports.
//!
//! May touch: every room but `dryfit`. Must never touch: what the controller decides.
//!
//! Map, in the order of a run: [`scenario`] reads; [`world`] builds (with [`pump`], [`wires`], [`fakes`], [`furnish`], [`local`]);
//! [`drive`] moves time and does what the steps say ([`objects`]); [`observe`] sees what happens ([`acts`], [`timeline`], [`trace`]);
//! [`check`] judges, [`invariants`] judges what always holds; [`report`] tells; [`explain`] answers why; [`run`] does it for many files. [`serve_cloud`] serves the fake AWS alone, [`serve_kube`] the
//! embedded Kubernetes; [`catalogue`] lists, compares and reads what a region offers.

pub mod acts;
pub mod catalogue;
pub mod check;
pub mod drive;
pub mod explain;
pub mod fakes;
pub mod furnish;
pub mod invariants;
pub mod local;
pub mod objects;
pub mod observe;
pub mod pump;
pub mod report;
pub mod run;
pub mod said;
pub mod scenario;
pub mod serve_cloud;
pub mod serve_kube;
pub mod timeline;
pub mod trace;
pub mod wires;
pub mod world;
pub mod yaml;

pub use controller::CrashPoint;
