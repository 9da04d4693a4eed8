//! Reads the parameters of a call, by the model's names. What nobody asked for is an error: a golden must not lose a member.

use serde_json::{Map, Value};

pub struct Members {
    path: String,
    left: Map<String, Value>,
}

#[cfg_attr(not(feature = "ec2"), expect(dead_code, reason = "the small services have simple parameters"))]
impl Members {
    pub fn new(path: &str, value: &Value) -> Self {
        let left = value.as_object().unwrap_or_else(|| panic!("{path} is no object: {value}")).clone();
        Members { path: path.to_owned(), left }
    }

    fn take<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.left.shift_remove(name)?;
        Some(read(&value).unwrap_or_else(|| panic!("{}.{name} cannot be {value}", self.path)))
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| value.as_str().map(str::to_owned))
    }

    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, Value::as_bool)
    }

    pub fn whole(&mut self, name: &str) -> Option<i32> {
        self.take(name, |value| value.as_i64()?.try_into().ok())
    }

    pub fn real(&mut self, name: &str) -> Option<f64> {
        self.take(name, Value::as_f64)
    }

    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        self.take(name, |value| value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect())
    }

    /// A value of an enumeration.
    pub fn named<T: for<'a> From<&'a str>>(&mut self, name: &str) -> Option<T> {
        self.text(name).map(|text| T::from(&text))
    }

    /// A structure.
    pub fn one<T>(&mut self, name: &str, read: impl Fn(&mut Members) -> T) -> Option<T> {
        let path = format!("{}.{name}", self.path);
        self.take(name, |value| Some(whole(&path, value, &read)))
    }

    /// A list of structures.
    pub fn each<T>(&mut self, name: &str, read: impl Fn(&mut Members) -> T) -> Option<Vec<T>> {
        let path = format!("{}.{name}", self.path);
        self.take(name, |value| Some(value.as_array()?.iter().map(|item| whole(&path, item, &read)).collect()))
    }

    /// Nothing may be left.
    pub fn done(&self) {
        assert!(self.left.is_empty(), "{} has members that are not handed on: {:?}", self.path, self.left);
    }
}

fn whole<T>(path: &str, value: &Value, read: impl Fn(&mut Members) -> T) -> T {
    let mut members = Members::new(path, value);
    let made = read(&mut members);
    members.done();
    made
}
