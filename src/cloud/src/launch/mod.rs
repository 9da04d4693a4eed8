//! Launching one machine for one claim. Source: `A/pkg/cloudprovider/cloudprovider.go`, `A/pkg/providers/instance/instance.go`.
//!
//! Map: [`claim`] reads what is asked for; [`filters`] say which types stay; [`template`] describes a launch template and [`templates`]
//! keeps them in the account; [`fleet`] asks for the machine and reads what came.

pub mod claim;
pub mod filters;
pub mod fleet;
pub mod template;
pub mod templates;
