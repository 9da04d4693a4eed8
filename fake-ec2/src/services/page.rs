//! Pages: caps per operation, and opaque tokens that are bound to the request that got them.
//!
//! A token names the last item seen by its key, so that pages stay complete while resources come and go.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::errors;
use super::input::Read;
use crate::protocol::{AwsError, Call};

/// Paging of one EC2 operation.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// Least and most `MaxResults`.
    pub least: i64,
    pub most: i64,
    /// Page length when `MaxResults` is absent; `None` means everything.
    pub default: Option<usize>,
    /// The member that lists ids, which `MaxResults` excludes, with its name in EC2's message.
    pub ids: Option<(&'static str, &'static str)>,
}

impl Pages {
    pub const fn capped(least: i64, most: i64) -> Self {
        Self { least, most, default: None, ids: None }
    }

    pub const fn by_default(mut self, length: usize) -> Self {
        self.default = Some(length);
        self
    }

    pub const fn not_with(mut self, member: &'static str, named: &'static str) -> Self {
        self.ids = Some((member, named));
        self
    }
}

/// Cuts one page out of items in the order of their keys. Returns it with the token of the next.
pub fn cut<T>(call: &Call, pages: Pages, items: Vec<(String, T)>) -> Result<(Vec<T>, Option<String>), AwsError> {
    let length = length(call, pages)?;
    let after = call.input.text("NextToken").map(|token| open(call, token).ok_or_else(|| errors::NEXT_TOKEN.error(&[]))).transpose()?;
    Ok(slice(call, length, after, items))
}

/// The same for the services whose page length and token are called otherwise. `token` is the one that was sent.
pub fn cut_by<T>(
    call: &Call,
    length: usize,
    token: Option<&str>,
    refusal: &errors::Row,
    items: Vec<(String, T)>,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let after = token.map(|token| open(call, token).ok_or_else(|| refusal.error(&[]))).transpose()?;
    Ok(slice(call, length, after, items))
}

/// Where a page begins and how long it may be, for lists that are long and dear to make: see [`Place::take`].
#[derive(Debug)]
pub struct Place {
    length: usize,
    after: Option<String>,
}

/// The page that a request asks for.
pub fn place(call: &Call, pages: Pages) -> Result<Place, AwsError> {
    let length = length(call, pages)?;
    place_by(call, length, call.input.text("NextToken"), &errors::NEXT_TOKEN)
}

/// The same for the services whose page length and token are called otherwise.
pub fn place_by(call: &Call, length: usize, token: Option<&str>, refusal: &errors::Row) -> Result<Place, AwsError> {
    let after = token.map(|token| open(call, token).ok_or_else(|| refusal.error(&[]))).transpose()?;
    Ok(Place { length, after })
}

impl Place {
    /// The key of the last item of the page before.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Takes the page out of candidates that come in the order of their keys. `make` is asked about those from the page's beginning to
    /// the first one of the next page; `None` is not in the list.
    pub fn take<C, T>(
        self,
        call: &Call,
        candidates: impl Iterator<Item = (String, C)>,
        mut make: impl FnMut(C) -> Option<T>,
    ) -> (Vec<T>, Option<String>) {
        let length = shortened(call, self.length, self.after.as_deref());
        let (mut page, mut last) = (Vec::new(), (length == 0).then(String::new));
        for (key, candidate) in candidates.skip_while(|(key, _)| self.after.as_ref().is_some_and(|after| key <= after)) {
            let Some(item) = make(candidate) else { continue };
            if page.len() >= length {
                return (page, last.map(|key: String| seal(call, &key)));
            }
            page.push(item);
            last = Some(key);
        }
        (page, None)
    }
}

fn slice<T>(call: &Call, length: usize, after: Option<String>, mut items: Vec<(String, T)>) -> (Vec<T>, Option<String>) {
    items.sort_by(|(one, _), (two, _)| one.cmp(two));
    let length = shortened(call, length, after.as_deref());
    let start = after.map_or(0, |after| items.partition_point(|(key, _)| *key <= after));
    let end = start.saturating_add(length).min(items.len());
    let last = if end > start { items[end - 1].0.as_str() } else { "" };
    let token = (end < items.len()).then(|| seal(call, last));
    (items.into_iter().skip(start).take(end - start).map(|(_, item)| item).collect(), token)
}

/// How long a page is where a fault makes pages short. One without any items is the first, since a client must come to an end.
fn shortened(call: &Call, length: usize, after: Option<&str>) -> usize {
    match call.short_pages {
        None => length,
        Some(0) if after.is_none() => 0,
        Some(0) => length,
        Some(most) => length.min(most),
    }
}

fn length(call: &Call, pages: Pages) -> Result<usize, AwsError> {
    let Some(asked) = call.input.int("MaxResults") else { return Ok(pages.default.unwrap_or(usize::MAX)) };
    if let Some((member, named)) = pages.ids
        && !call.input.list(member).is_empty()
    {
        return Err(errors::COMBINATION.error(&[named, "maxResults"]));
    }
    if asked < pages.least {
        let why = format!("Expecting a value greater than or equal to {}.", pages.least);
        return Err(errors::invalid(&asked.to_string(), "maxResults", &why));
    }
    if asked > pages.most {
        let why = format!("Expecting a value less than or equal to {}.", pages.most);
        return Err(errors::invalid(&asked.to_string(), "maxResults", &why));
    }
    Ok(usize::try_from(asked).unwrap_or(usize::MAX))
}

/// Members that say where the page is, not what is asked.
const PAGING: [&str; 7] = ["NextToken", "nextToken", "MaxResults", "maxResults", "Marker", "MaxItems", "Limit"];

fn seal(call: &Call, key: &str) -> String {
    let mut bytes = mark(call, key).to_vec();
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(call: &Call, token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (sealed, key) = bytes.split_at_checked(MARK)?;
    let key = String::from_utf8(key.to_vec()).ok()?;
    (mark(call, &key) == sealed).then_some(key)
}

const MARK: usize = 12;

/// Binds a key to account, region, operation and the rest of the request.
fn mark(call: &Call, key: &str) -> [u8; MARK] {
    let mut hash = Sha256::new();
    for part in [&call.caller.account, &call.region, call.operation, key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(fingerprint(&call.input, &PAGING));
    let whole: [u8; 32] = hash.finalize().into();
    whole[..MARK].try_into().expect("twelve of 32 bytes")
}

/// A digest of an input without some of its members, whatever the order in which members came.
pub fn fingerprint(input: &super::input::Members, without: &[&str]) -> [u8; 32] {
    let mut members: Vec<(&String, &Value)> = input.iter().filter(|(name, _)| !without.contains(&name.as_str())).collect();
    members.sort_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    for (name, value) in members {
        hash.update(name);
        hash.update([0]);
        hash.update(value.to_string());
        hash.update([0]);
    }
    hash.finalize().into()
}
