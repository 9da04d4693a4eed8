//! The keys of a request that conditions read.

use std::collections::BTreeMap;

/// Condition keys with their values. Names are compared without regard to case, as IAM does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// By name in lower case: the name as it was given, and its values.
    keys: BTreeMap<String, (String, Vec<String>)>,
}

impl Context {
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.keys.insert(key.to_ascii_lowercase(), (key.to_owned(), vec![value.into()]));
    }

    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        self.keys.insert(key.to_ascii_lowercase(), (key.to_owned(), values));
    }

    pub fn maybe(&mut self, key: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// The values of a key; `None` if the request does not have it.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.keys.get(&key.to_ascii_lowercase()).map(|(_, values)| values.as_slice())
    }

    /// A key's value where it has exactly one: what a policy variable stands for.
    pub fn one(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Leaves only the keys that `keep` wants.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.keys.retain(|_, (name, _)| keep(name));
    }

    /// Adds another context's keys over these.
    pub fn extend(&mut self, other: &Context) {
        self.keys.extend(other.keys.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.keys.values().map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}
