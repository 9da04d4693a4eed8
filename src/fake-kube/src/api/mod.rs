//! The write path, the same for HTTP and for the controllers inside: decoding, defaults, admission, validation, generation,
//! resourceVersion, deletion.

mod delete;
mod metadata;
mod options;
mod subresources;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::chance::Chance;
use crate::kinds::Kind;
use crate::status::Status;
use crate::store::{Object, Store};
pub use options::{DeleteOptions, FieldValidation, Preconditions, Propagation, WriteOptions};
pub use write::Written;

/// The API's state and its rules.
pub struct Api {
    store: Store,
    chance: Chance,
    /// Of objects that come with a namespace: what they are called must not depend on how many there are.
    aside: Chance,
    root_ca: String,
    /// Whether pods' service accounts must exist and bring their token.
    accounts: bool,
    /// Whether a pod was refused since somebody last asked because its namespace has no `default` account yet.
    missed_default: bool,
    last_write: Timestamp,
    /// Whether fields are followed from an object's creation on, not only from its first apply on.
    tracking: bool,
    /// Who writes by [`Api::create`] and [`Api::update_with`].
    acting: &'static str,
    /// The next address for a Service; see `admission::services`.
    pub(crate) next_address: u32,
    usage: crate::usage::Usage,
    auth: crate::auth::Auth,
}

/// The object a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a Arc<Kind>,
    /// The version that the body is written in.
    pub(crate) version: &'a str,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: Option<&'a str>,
}

impl Api {
    pub(crate) fn new(seed: u64, history: usize) -> Api {
        Api {
            store: Store::new(history),
            chance: Chance::new(seed),
            aside: Chance::new(seed ^ 0x6173_6964_6500_0001),
            root_ca: String::new(),
            accounts: false,
            missed_default: false,
            last_write: Timestamp::UNIX_EPOCH,
            tracking: false,
            acting: "kube-apiserver",
            next_address: 10,
            usage: crate::usage::Usage::default(),
            auth: crate::auth::Auth::default(),
        }
    }

    /// What pods use, as the metrics server last saw it.
    pub(crate) fn usage(&self) -> &crate::usage::Usage {
        &self.usage
    }

    pub(crate) fn set_usage(&mut self, usage: crate::usage::Usage) {
        self.usage = usage;
    }

    /// The authority of the server's certificate, as PEM; empty without TLS.
    pub(crate) fn root_ca(&self) -> &str {
        &self.root_ca
    }

    pub(crate) fn set_root_ca(&mut self, pem: String) {
        self.root_ca = pem;
    }

    pub(crate) fn auth(&self) -> &crate::auth::Auth {
        &self.auth
    }

    pub(crate) fn set_auth(&mut self, auth: crate::auth::Auth) {
        self.auth = auth;
    }

    pub(crate) fn looks_at_accounts(&self) -> bool {
        self.accounts
    }

    pub(crate) fn look_at_accounts(&mut self, yes: bool) {
        self.accounts = yes;
    }

    pub(crate) fn miss_default_account(&mut self) {
        self.missed_default = true;
    }

    /// Whether a pod was refused since the last call for want of its namespace's `default` account.
    pub(crate) fn take_missed_default(&mut self) -> bool {
        std::mem::take(&mut self.missed_default)
    }

    pub(crate) fn track(&mut self, always: bool) {
        self.tracking = always;
    }

    /// From here on the writer inside goes by this name.
    pub(crate) fn act_as(&mut self, name: &'static str) {
        self.acting = name;
    }

    fn own_options(&self) -> WriteOptions {
        WriteOptions { field_manager: self.acting.to_owned(), ..WriteOptions::default() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    pub(crate) fn register(&mut self, kind: Kind) {
        self.store.register(Arc::new(kind));
    }

    pub(crate) fn last_write(&self) -> Timestamp {
        self.last_write
    }

    pub(crate) fn known(&self, plural: &str) -> Result<Arc<Kind>, Status> {
        self.store.kind(plural).cloned().ok_or_else(Status::no_such_resource)
    }

    pub(crate) fn existing(&self, kind: &Kind, namespace: &str, name: &str) -> Result<&Arc<Object>, Status> {
        self.store.get(&kind.key, namespace, name).ok_or_else(|| Status::not_found(kind, name))
    }

    /// Creates an object; `namespace` is empty for cluster-scoped kinds. Name generation, uid, defaults and validation as over HTTP.
    /// `apiVersion` and `kind` may be left out.
    pub fn create(&mut self, now: Timestamp, plural: &str, namespace: &str, object: Value) -> Result<Arc<Object>, Status> {
        let kind = self.known(plural)?;
        let target = Target { kind: &kind, version: &kind.version, namespace, name: "", subresource: None };
        self.create_with(now, target, object, &self.own_options()).map(|written| written.object)
    }

    /// As [`Api::create`], with uids from a stream of their own.
    pub(crate) fn create_aside(&mut self, now: Timestamp, plural: &str, namespace: &str, object: Value) -> Result<Arc<Object>, Status> {
        std::mem::swap(&mut self.chance, &mut self.aside);
        let made = self.create(now, plural, namespace, object);
        std::mem::swap(&mut self.chance, &mut self.aside);
        made
    }

    /// Reads, changes, writes: `change` sees the stored object. `subresource` is `None` or `Some("status")`; what the subresource may
    /// not change stays. Nothing is written when nothing changed.
    pub fn update_with(
        &mut self,
        now: Timestamp,
        plural: &str,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Object>, Status> {
        let kind = self.known(plural)?;
        let stored = self.existing(&kind, namespace, name)?;
        let before = stored.value();
        let mut value = (*before).clone();
        change(&mut value);
        if value == *before {
            return Ok(stored.clone());
        }
        let target = Target { kind: &kind, version: &kind.version, namespace, name, subresource };
        self.update_to(now, target, value, &self.own_options()).map(|written| written.object)
    }

    /// Deletes as the API does: at once, or gracefully, or when the last finalizer is gone. The state after, if something is left.
    pub fn delete(
        &mut self,
        now: Timestamp,
        plural: &str,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Option<Arc<Object>>, Status> {
        let kind = self.known(plural)?;
        let target = Target { kind: &kind, version: &kind.version, namespace, name, subresource: None };
        let deleted = self.delete_with(now, target, &options)?;
        Ok((!deleted.gone).then_some(deleted.object))
    }
}
