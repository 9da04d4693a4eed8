//! What may be said beside the object in a write.

/// `metav1.DeleteOptions`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds; `None` is the kind's default.
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub preconditions: Preconditions,
    pub dry_run: bool,
}

impl DeleteOptions {
    pub fn background() -> DeleteOptions {
        DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() }
    }

    pub fn foreground() -> DeleteOptions {
        DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() }
    }

    /// At once, without grace.
    pub fn now() -> DeleteOptions {
        DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() }
    }

    pub fn if_uid(mut self, uid: &str) -> DeleteOptions {
        self.preconditions.uid = Some(uid.to_owned());
        self
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What becomes of fields that the kind does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// The object comes from server-side apply, which has written `managedFields` already.
    pub applied: bool,
    /// On whose behalf; none is the server itself.
    pub user: Option<crate::User>,
}
