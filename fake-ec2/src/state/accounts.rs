//! Other accounts beside the first: each a world of its own (instances, roles, queues …) over the same catalogue and clock.
//!
//! An account begins empty when it is first spoken of; its ids come from the same seed and its number. Capacity, service control policies and
//! faults that name no account are the first account's; whether policies decide is the same for all. Images are shared by launch permission,
//! queues by their policies.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::denial::Denial;
use super::iam::{Role, Session, UserKey};
use super::image::Image;
use super::rules::Rule;
use super::{Account, IamMode, State, World};
use crate::model::Service;
use crate::services;

/// How many there may be: clients name them, and each costs some memory.
pub const MOST_ACCOUNTS: usize = 64;

/// Whether a text is an account's twelve digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The account of `arn:aws:iam::123456789012:role/x`; none where the ARN names none, or AWS itself.
pub fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| is_account(account))
}

impl State {
    /// The first account's number, then the others'.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.worlds().map(|state| state.account.id.as_str())
    }

    /// Sees to it that an account exists; false if that is no account's number, or there are too many.
    pub fn open_account(&mut self, id: &str) -> bool {
        if id == self.account.id || self.others.contains_key(id) {
            return true;
        }
        if !is_account(id) || self.others.len() >= MOST_ACCOUNTS {
            return false;
        }
        let mut settings = self.account.settings.clone();
        (settings.rules, settings.capacity, settings.service_control_policies) = (Vec::new(), Vec::new(), Vec::new());
        let digest: [u8; 32] = Sha256::digest(format!("account {} {id}", self.account.entropy.fixed("account"))).into();
        let seed = u64::from_le_bytes(digest[..8].try_into().expect("eight bytes of a digest"));
        let account = Account::new(seed, id, &self.account.home, settings);
        self.others.insert(id.to_owned(), State { account, regions: Default::default(), others: Default::default() });
        true
    }

    /// Does something in the world of an account; in the first one's, if there is no such account.
    pub(crate) fn within<R>(&mut self, id: &str, f: impl FnOnce(&mut State) -> R) -> R {
        let Some(mut theirs) = self.others.remove(id) else { return f(self) };
        let first = self.account.id.clone();
        self.trade(&mut theirs);
        self.others.insert(first.clone(), theirs);
        let done = f(self);
        if let Some(mut ours) = self.others.remove(&first) {
            self.trade(&mut ours);
            self.others.insert(id.to_owned(), ours);
        }
        done
    }

    fn trade(&mut self, other: &mut State) {
        std::mem::swap(&mut self.account, &mut other.account);
        std::mem::swap(&mut self.regions, &mut other.regions);
    }

    /// Does one operation as the root of an account, past faults, buckets and latencies. The account is made if there is none of this number.
    pub fn ask_in(&mut self, now: Timestamp, account: &str, service: Service, operation: &'static str, input: Value) -> services::Answer {
        self.open_account(account);
        self.within(account, |state| state.ask(now, service, operation, input))
    }

    /// Puts a fault in force in an account; false if that is no account's number, or there are too many.
    pub fn add_rule_in(&mut self, account: &str, rule: Rule) -> bool {
        let known = self.open_account(account);
        if known {
            self.within(account, |state| state.add_rule(rule));
        }
        known
    }

    pub(super) fn worlds(&self) -> impl Iterator<Item = &State> {
        std::iter::once(self).chain(self.others.values())
    }

    /// What STS remembers of a key, whosoever's it is.
    pub(crate) fn session(&self, key: &str) -> Option<&Session> {
        self.worlds().find_map(|state| state.account.iam.sessions.get(key))
    }

    /// A user's key, in whichever account.
    pub(crate) fn user_key(&self, key: &str) -> Option<&UserKey> {
        self.worlds().find_map(|state| state.account.iam.keys.get(key))
    }

    /// What policies denied, or would have, the oldest first; the very oldest are forgotten.
    pub fn denials(&self) -> impl DoubleEndedIterator<Item = &Denial> {
        let mut all: Vec<&Denial> = self.worlds().flat_map(|state| &state.account.denials.latest).collect();
        // Stable: what an account noted at one instant stays in its order.
        all.sort_by_key(|denial| denial.at);
        all.into_iter()
    }

    /// How often policies denied, or would have.
    pub fn denied(&self) -> u64 {
        self.worlds().map(|state| state.account.denials.count).sum()
    }

    pub fn set_iam_mode(&mut self, mode: IamMode) {
        self.account.settings.iam = mode;
        self.others.values_mut().for_each(|state| state.account.settings.iam = mode);
    }
}

impl State {
    /// Images of other accounts that this one may launch in a region.
    pub(crate) fn images_of_others(&self, region: &str) -> Vec<Image> {
        let id = &self.account.id;
        let theirs = self.others.values().filter_map(|state| state.regions.get(region)).flat_map(|region| region.images.values());
        theirs.filter(|image| image.owner_alias.is_none() && &image.owner != id && image.serves(id)).map(Image::untagged).collect()
    }
}

impl World<'_> {
    /// Lets the other accounts see an image as it is now, as far as it is shared with them.
    pub(crate) fn share(&mut self, id: &str) {
        let image = self.region.images.get(id);
        for (number, state) in self.others.iter_mut() {
            let Some(region) = state.regions.get_mut(&self.region.name) else { continue };
            match image.filter(|image| image.serves(number)) {
                Some(image) => drop(region.images.insert(id.to_owned(), image.untagged())),
                None => drop(region.images.remove(id)),
            }
        }
    }

    /// A role of this account or of another, with its account's number: as IAM shows it, or as it is `in_force`.
    pub(crate) fn role_anywhere(&self, arn: &str, in_force: bool) -> Option<(&str, &Role)> {
        let account = match account_of(arn) {
            Some(other) if other != self.account.id => &self.others.get(other)?.account,
            _ => &*self.account,
        };
        let iam = if in_force { account.iam.in_force(self.now) } else { &account.iam };
        iam.role_by_arn(arn).map(|role| (account.id.as_str(), role))
    }

    /// The account of that number; this one, if there is none.
    pub(crate) fn account_mut(&mut self, id: &str) -> &mut Account {
        match self.others.get_mut(id) {
            Some(other) => &mut other.account,
            None => self.account,
        }
    }
}
