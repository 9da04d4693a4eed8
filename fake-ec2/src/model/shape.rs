//! Shapes: what values look like, and what they are called on the wire.

use std::borrow::Cow;

/// A shape's place in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShapeId(pub(super) usize);

#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub kind: Kind,
    /// An enumeration's values; empty when the text is free (or the enumeration is long enough to be data).
    pub values: Vec<&'static str>,
    /// Least and greatest length or value.
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub exception: bool,
    pub error: ErrorTraits,
}

/// What the model says of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorTraits {
    /// The code on the wire, where it is not the shape's name.
    pub code: Option<&'static str>,
    pub status: Option<u16>,
    pub sender_fault: Option<bool>,
}

#[derive(Debug)]
pub enum Kind {
    /// In the order of the model. On the wire members have the order of the value.
    Structure(Vec<Member>),
    List {
        member: Member,
        flattened: bool,
    },
    Map {
        key: Member,
        value: Member,
        flattened: bool,
    },
    Text,
    Integer,
    Long,
    /// `float` and `double`.
    Number,
    Boolean,
    Timestamp,
    Blob,
}

/// A member of a structure, a list or a map.
#[derive(Debug)]
pub struct Member {
    /// The model's name, which is the key in a [`Call`](crate::protocol::Call)'s input. Empty for parts of lists and maps.
    pub name: &'static str,
    pub shape: ShapeId,
    pub location_name: Option<&'static str>,
    /// EC2's name in requests, where it is not the capitalised location name.
    pub query_name: Option<&'static str>,
    pub location: Location,
    pub flattened: bool,
    pub required: bool,
    pub idempotency_token: bool,
    /// The name in a form, of services that read forms.
    pub form_name: Cow<'static, str>,
}

/// Where a member travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Body,
    Path,
    QueryString,
}

/// Finds members by name for one object after another: it starts where the last one was found, since objects tend to have the order of
/// their shape, so that most searches are one comparison and no hash.
#[derive(Debug)]
pub struct Finder<'a> {
    members: &'a [Member],
    next: usize,
}

impl<'a> Finder<'a> {
    pub fn new(members: &'a [Member]) -> Self {
        Self { members, next: 0 }
    }

    pub fn find(&mut self, name: &str) -> Option<&'a Member> {
        let (before, after) = self.members.split_at(self.next.min(self.members.len()));
        let at = after.iter().position(|member| member.name == name).map(|at| before.len() + at);
        let at = at.or_else(|| before.iter().position(|member| member.name == name))?;
        self.next = at + 1;
        self.members.get(at)
    }
}

impl Member {
    /// What a member is called in a form. EC2: its query name, else its location name with a capital, else its own name. Elsewhere a
    /// flattened list is called by its items' name.
    pub(super) fn name_in_forms(&self, ec2: bool, kind: &Kind) -> Cow<'static, str> {
        if ec2 {
            return match (self.query_name, self.location_name) {
                (Some(name), _) => name.into(),
                (None, Some(name)) => capitalised(name, self.name),
                (None, None) => self.name.into(),
            };
        }
        if let Kind::List { member: item, flattened } = kind
            && let Some(name) = item.location_name.filter(|_| *flattened || self.flattened)
        {
            return name.into();
        }
        self.wire_name().into()
    }

    /// The name in replies and in JSON bodies of REST services.
    pub fn wire_name(&self) -> &'static str {
        self.location_name.unwrap_or(self.name)
    }
}

/// A location name with a capital, which mostly is the member's own name.
fn capitalised(name: &'static str, own: &'static str) -> Cow<'static, str> {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    if own.chars().next() == first && own.get(1..) == name.get(1..) {
        return own.into();
    }
    first.into_iter().chain(letters).collect::<String>().into()
}
