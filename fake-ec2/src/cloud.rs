//! Requests in, replies out.
//!
//! The seam to the services, which this module calls in this way and no other:
//! - `State::new(&Config) -> State`
//! - `State::next_due(&self) -> Option<Timestamp>`: when `State::advance` must be called next by itself
//! - `State::advance(&mut self, now)`: everything that is due; also called before each request is handled
//! - `State::unsettled(&self) -> Vec<String>`
//! - `services::handle(&mut State, now, &Call) -> Outcome`
//! - `services::resume(&mut State, now, &Call, &mut Pending) -> Option<Result<Value, AwsError>>`: asked for every waiting call, in
//!   the order of arrival, after each request and each advance; must answer once `now >= pending.due()`
//! - `Pending::due(&self) -> Timestamp`

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::auth::{self, Refusal, Signed};
use crate::config::{AccessKey, Config};
use crate::model::{Protocol, Service};
use crate::protocol::{self, AwsError, Call, Dialect, Form, Malformed, Parsed, Target};
use crate::services::{self, Outcome, Pending};
use crate::state::{State, account_of, is_account};

/// A request, its body whole.
pub type Request = http::Request<Bytes>;
/// A reply, its body whole.
pub type Response = http::Response<Bytes>;

/// Names a request until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What comes out of the cloud. AWS's replies of these services are whole, so that the streaming forms are not used yet.
#[derive(Debug)]
pub enum Out {
    /// Head and whole body.
    Reply(Ticket, Response),
    Head(Ticket, http::response::Parts),
    Chunk(Ticket, Bytes),
    End(Ticket),
}

/// The fake cloud behind one address: an account and those beside it, all services and regions.
#[derive(Debug)]
pub struct Cloud {
    config: Config,
    state: State,
    /// How many requests there were.
    tickets: u64,
    waiting: BTreeMap<Ticket, Waiting>,
    ready: BTreeMap<Ticket, (Timestamp, Response)>,
    unknown: BTreeMap<(Service, &'static str, String), u64>,
    /// Keys that STS has given out.
    sessions: BTreeMap<String, AccessKey>,
}

/// A call whose answer comes later.
#[derive(Debug)]
struct Waiting {
    call: Call,
    dialect: Dialect,
    pending: Pending,
}

/// A cloud as it is written down.
#[derive(Serialize, Deserialize)]
struct Kept<'a, S> {
    tickets: u64,
    sessions: Cow<'a, BTreeMap<String, AccessKey>>,
    state: S,
}

/// A request that is no call, and the error that says so.
struct Refused {
    service: Option<Service>,
    dialect: Dialect,
    error: AwsError,
}

impl Cloud {
    /// A fresh account.
    pub fn new(config: Config) -> Self {
        let state = State::new(&config);
        Self {
            config,
            state,
            tickets: 0,
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            unknown: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// Takes a request and does what it asks for; the reply comes from [`Cloud::advance`]. Never blocks.
    pub fn submit(&mut self, now: Timestamp, request: Request) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.state.advance(now);
        let request_id = request_id(self.config.seed, ticket);
        match self.call(now, request_id.clone(), &request) {
            Ok((call, dialect)) => self.handle(now, ticket, call, dialect),
            Err(refused) => {
                let response = protocol::failure(refused.service, refused.dialect, &request_id, &refused.error);
                self.ready.insert(ticket, (now, response));
            }
        }
        self.resume(now);
        ticket
    }

    /// The peer went away. What the request did stays done, as it does in AWS; a long poll ends without taking messages.
    pub fn cancel(&mut self, _now: Timestamp, ticket: Ticket) {
        self.waiting.remove(&ticket);
        self.ready.remove(&ticket);
    }

    /// When [`Cloud::advance`] must be called next; in the past when a reply is ready.
    pub fn next_due(&self) -> Option<Timestamp> {
        let ready = self.ready.values().map(|(at, _)| *at);
        let waiting = self.waiting.values().map(|waiting| waiting.pending.due());
        ready.chain(waiting).chain(self.state.next_due()).min()
    }

    /// Lets everything happen that is due, and hands out the replies that are ready, in the order of their requests.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Out> {
        self.state.advance(now);
        self.resume(now);
        let replies = std::mem::take(&mut self.ready);
        let date = HeaderValue::from_str(&protocol::http_date(now)).ok();
        let reply = |(ticket, (_, mut response)): (Ticket, (Timestamp, Response))| {
            if let Some(date) = &date {
                response.headers_mut().insert(http::header::DATE, date.clone());
            }
            Out::Reply(ticket, response)
        };
        replies.into_iter().map(reply).collect()
    }

    /// In words, what could still move by itself; empty when settled. Long polls do not count.
    pub fn unsettled(&self) -> Vec<String> {
        self.state.unsettled()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Parameters that clients sent and the models do not know, with how often: (service, operation, parameter).
    pub fn unknown_parameters(&self) -> &BTreeMap<(Service, &'static str, String), u64> {
        &self.unknown
    }

    /// All that the cloud remembers, as JSON; `None` while an answer is held back, whose call would be lost. Long polls are not part of it:
    /// whoever waits, asks again.
    pub fn written(&self) -> Option<String> {
        if !self.ready.is_empty() || self.waiting.values().any(|waiting| waiting.pending.holds()) {
            return None;
        }
        let kept = Kept { tickets: self.tickets, sessions: Cow::Borrowed(&self.sessions), state: &self.state };
        serde_json::to_string(&kept).ok()
    }

    /// Becomes the cloud that was written. What a start says anew stays: keys, limits, where queues are found.
    pub fn restore(&mut self, written: &str) -> Result<(), serde_json::Error> {
        let kept: Kept<'_, State> = serde_json::from_str(written)?;
        (self.tickets, self.sessions, self.state) = (kept.tickets, kept.sessions.into_owned(), kept.state);
        self.state.found_at(self.config.world.queue_url_base.as_ref());
        Ok(())
    }

    /// Reads a request into a call: its size, its signature, its service, its parameters.
    fn call(&mut self, now: Timestamp, request_id: String, request: &Request) -> Result<(Call, Dialect), Refused> {
        let limits = &self.config.limits;
        let form = Form::of(request, limits);
        let signed = auth::read(request, form.as_ref().unwrap_or(&Form::default()));
        let spoken_by = signed.as_ref().ok().and_then(Option::as_ref);
        let stranger = protocol::stranger(request, spoken_by);
        let known = || protocol::target(request, spoken_by, form.as_ref().unwrap_or(&Form::default()));
        let target = if stranger.is_some() { None } else { known() };
        let service = target.as_ref().map(|target| target.service);
        let dialect = Dialect::of(service, request);
        let dialect = stranger.as_deref().map_or(dialect, |name| dialect.of_stranger(name));
        let refused = |error: AwsError| Refused { service, dialect, error };
        // A request of no service is answered in a protocol's words all the same.
        let spoken = service.unwrap_or(Service::Sts);
        let malformed = |why: Malformed| refused(why.error(spoken, dialect.protocol));
        if request.body().len() > limits.body_bytes || request.headers().get(UNREADABLE).is_some_and(|why| why == "too-large") {
            return Err(malformed(Malformed::TooLarge(limits.body_bytes)));
        }
        // What a server could not read to its end must not be taken for a request with fewer parameters.
        if request.headers().contains_key(UNREADABLE) {
            return Err(malformed(Malformed::Cut));
        }
        let form = form.map_err(malformed)?;
        let Some(Target { service, region }) = target else {
            return Err(malformed(stranger.map_or(Malformed::NoService, Malformed::NotServed)));
        };
        let parsed = protocol::parse(service, dialect, request, &form, limits);
        let operation = parsed.as_ref().ok().map(|parsed| parsed.operation);
        let signed = self.admit(now, request, signed, operation).map_err(|why| refused(why.error(service, dialect.protocol)))?;
        let Parsed { operation, input, unknown } = parsed.map_err(malformed)?;
        let model = service.model();
        let shape = model.operations.get(operation).and_then(|operation| operation.input);
        if let Some(error) = shape.and_then(|shape| protocol::limits::broken(model, dialect.protocol, shape, &input)) {
            return Err(refused(error));
        }
        for parameter in &unknown {
            // Names come from clients, who may make up as many as they like.
            let known = self.unknown.len() < MOST_UNKNOWN;
            let key = (service, operation, parameter.clone());
            if known || self.unknown.contains_key(&key) {
                *self.unknown.entry(key).or_default() += 1;
            }
        }
        let key = signed.as_ref().and_then(|signed| self.key(&signed.access_key));
        let mut caller = auth::caller(signed.as_ref(), key, &self.config);
        self.settle_account(&mut caller, operation, &input);
        let region = region.unwrap_or_else(|| self.config.region.clone());
        Ok((Call { service, operation, region, caller, request_id, input, unknown, short_pages: None }, dialect))
    }

    /// In whose world a call is done. A key of twelve digits that nobody gave out is the root's of that account; a web identity has no account
    /// but the role's that it asks for.
    fn settle_account(&mut self, caller: &mut protocol::Caller, operation: &str, input: &serde_json::Map<String, Value>) {
        let of_key =
            caller.access_key.as_deref().filter(|key| is_account(key) && !self.config.verify_signatures && self.key(key).is_none());
        if let Some(id) = of_key.map(str::to_owned)
            && self.state.open_account(&id)
        {
            (caller.principal, caller.user_id, caller.account) = (format!("arn:aws:iam::{id}:root"), id.clone(), id);
        }
        if operation == "AssumeRoleWithWebIdentity"
            && let Some(account) = input.get("RoleArn").and_then(Value::as_str).and_then(account_of)
            && self.state.accounts().any(|known| known == account)
        {
            caller.account = account.to_owned();
        }
        self.state.open_account(&caller.account);
    }

    /// Lets a request in, if signatures are checked at all; a signature that cannot be read is as good as none if they are not.
    fn admit(
        &self,
        now: Timestamp,
        request: &Request,
        signed: Result<Option<Signed>, Refusal>,
        operation: Option<&str>,
    ) -> Result<Option<Signed>, Refusal> {
        let expired = |signed: &Signed| self.state.session(&signed.access_key).is_some_and(|it| it.expires <= now);
        if signed.as_ref().is_ok_and(|signed| signed.as_ref().is_some_and(expired)) {
            return Err(Refusal::TokenExpired);
        }
        if !self.config.verify_signatures {
            return Ok(signed.unwrap_or_default());
        }
        match signed? {
            Some(signed) => {
                auth::verify(&signed, request, self.key(&signed.access_key), &self.config, now)?;
                Ok(Some(signed))
            }
            // The one operation that is called without a key: the token in it is the credential.
            None if operation == Some("AssumeRoleWithWebIdentity") => Ok(None),
            None => Err(Refusal::Unsigned),
        }
    }

    fn key(&self, id: &str) -> Option<&AccessKey> {
        let given_out = || self.state.user_key(id).map(|key| &key.key);
        self.config.keys.get(id).or_else(|| self.sessions.get(id)).or_else(given_out)
    }

    fn handle(&mut self, now: Timestamp, ticket: Ticket, call: Call, dialect: Dialect) {
        let done = self.state.within(&call.caller.account, |state| {
            state.account.writes_xml = dialect.protocol == Protocol::Ec2;
            services::handle(state, now, &call)
        });
        match done {
            Outcome::Done(answer) => {
                let response = self.respond(&call, dialect, answer);
                self.ready.insert(ticket, (now, response));
            }
            Outcome::Later(pending) => drop(self.waiting.insert(ticket, Waiting { call, dialect, pending })),
        }
    }

    /// Asks every waiting call whether it can be answered now.
    fn resume(&mut self, now: Timestamp) {
        let mut answered = Vec::new();
        for (ticket, waiting) in &mut self.waiting {
            let Waiting { call, pending, .. } = waiting;
            if let Some(answer) = self.state.within(&call.caller.account, |state| services::resume(state, now, call, pending)) {
                answered.push((*ticket, answer));
            }
        }
        for (ticket, answer) in answered {
            if let Some(Waiting { call, dialect, .. }) = self.waiting.remove(&ticket) {
                let response = self.respond(&call, dialect, answer);
                self.ready.insert(ticket, (now, response));
            }
        }
    }

    fn respond(&mut self, call: &Call, dialect: Dialect, answer: Result<Value, AwsError>) -> Response {
        let operation = call.service.model().operations.get(call.operation);
        match (answer, operation) {
            (Ok(output), Some(operation)) => {
                if let Some((id, key)) = auth::session(call, &output) {
                    // Keys that the account has forgotten long after their end.
                    if self.sessions.len() > 2 * crate::state::iam::MOST_SESSIONS {
                        self.sessions.retain(|id, _| self.state.session(id).is_some());
                    }
                    self.sessions.insert(id, key);
                }
                protocol::success(call.service, dialect, operation, &call.request_id, &output)
            }
            (Err(error), _) => protocol::failure(Some(call.service), dialect, &call.request_id, &error),
            (Ok(_), None) => {
                let error = Malformed::NotDone(call.operation.to_owned()).error(call.service, dialect.protocol);
                protocol::failure(Some(call.service), dialect, &call.request_id, &error)
            }
        }
    }
}

/// How many names of unknown parameters are counted.
const MOST_UNKNOWN: usize = 1000;

/// The header by which a server says that a body did not come: `too-large`, `cut`, `slow`.
pub const UNREADABLE: &str = "x-dryfit-body";

/// A request's id in the form of a UUID, from the seed and the request's number, so that it moves no other chance.
fn request_id(seed: u64, ticket: Ticket) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest: [u8; 32] = Sha256::digest(format!("request {seed} {}", ticket.0)).into();
    let nibble = |at: usize| if at.is_multiple_of(2) { digest[at / 2] >> 4 } else { digest[at / 2] & 0xf };
    let digit = |at: usize| match at {
        12 => '4',
        16 => 'a',
        _ => char::from(DIGITS[usize::from(nibble(at))]),
    };
    let mut id = String::with_capacity(36);
    for at in 0..32 {
        if matches!(at, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit(at));
    }
    id
}
