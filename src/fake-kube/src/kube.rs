//! The fake itself: requests in, what is due out.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::api::Api;
use crate::bootstrap;
use crate::controller::{Controller, Drive};
use crate::http::watch::Watcher;
use crate::http::{Answer, Server};
use crate::kinds;
use crate::rules::Rules;

pub use crate::rules::{Action, Rule};

pub type Request = http::Request<Bytes>;
pub type Response = http::Response<Bytes>;

/// Names a request from [`Kube::submit`] to its [`Out`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What the server has to say.
#[derive(Debug)]
pub enum Out {
    /// Head and whole body.
    Reply(Ticket, Response),
    /// The head of a stream (a watch).
    Head(Ticket, http::response::Parts),
    /// A part of a stream; parts are not lines.
    Chunk(Ticket, Bytes),
    End(Ticket),
}

#[derive(Clone, Debug)]
pub struct Config {
    /// Of uids and generated names.
    pub seed: u64,
    /// When the server starts; what it makes of itself carries this time.
    pub start: Timestamp,
    /// What `/version` says, without the `v`.
    pub version: String,
    /// How many events per kind a watch can go back.
    pub history: usize,
    pub latency: Latency,
    /// Whether `metadata.managedFields` are kept from each object's creation on, as a real server does. Otherwise they begin with the
    /// first server-side apply: where nobody looks at them, most of the work would be theirs.
    pub managed_fields: bool,
    /// Whether pods' service accounts must exist and bring the token's volume, as on a real server. Otherwise pods have only the name of
    /// their account: the volume would be half of what a small pod weighs, and nobody opens it in virtual time.
    pub service_accounts: bool,
    /// Who may ask, by bearer token. Empty: everybody is the administrator. A request without a token is the administrator's in any
    /// case: whoever serves a socket lets none through.
    pub tokens: Vec<(String, crate::User)>,
    /// What signs service accounts' tokens. Unguessable where somebody else may ask.
    pub secret: Vec<u8>,
    /// Whether roles and bindings decide; the server's own are there then.
    pub rbac: bool,
    /// The authority of the server's certificate, as PEM, for `kube-root-ca.crt`. Empty without TLS.
    pub root_ca: String,
    /// Somebody else is the controller manager: namespaces go when that one has emptied them.
    pub unmanaged: bool,
    /// Faults from the start; more by [`Kube::add_rule`].
    pub rules: Vec<Rule>,
}

/// How long things take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// From a get or list to its reply.
    pub read: SignedDuration,
    /// From a write to its reply. The write itself is done when it comes in.
    pub write: SignedDuration,
    /// From a change to the event at the watchers.
    pub watch: SignedDuration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 0,
            start: Timestamp::UNIX_EPOCH,
            version: "1.36.3".to_owned(),
            history: 16_384,
            latency: Latency::default(),
            managed_fields: false,
            service_accounts: false,
            tokens: Vec::new(),
            secret: Vec::new(),
            rbac: false,
            root_ca: String::new(),
            unmanaged: false,
            rules: Vec::new(),
        }
    }
}

/// How often the server looks for a namespace's `default` account before it refuses a pod, and how long it waits in between: upstream
/// draws 100 to 200 ms (`plugin/pkg/admission/serviceaccount/admission.go`, getServiceAccount).
const ACCOUNT_LOOKS: u32 = 10;
const ACCOUNT_WAIT: SignedDuration = SignedDuration::from_millis(150);

/// A request with what it will be delayed by, and how often it was looked at.
struct Waiting {
    request: Request,
    delay: SignedDuration,
    looks: u32,
}

/// An embedded Kubernetes.
pub struct Kube {
    api: Api,
    drive: Drive,
    server: Server,
    latency: Latency,
    rules: Rules,
    next_ticket: u64,
    /// Replies by when they are due, then by order.
    replies: BTreeMap<(Timestamp, u64), (Ticket, Response)>,
    watchers: BTreeMap<Ticket, Watcher>,
    /// Pods for whose namespace's `default` account the server waits, by when it looks again.
    waiting: BTreeMap<(Timestamp, u64), Waiting>,
    /// When each resourceVersion becomes visible to watchers; the oldest first.
    visible_at: VecDeque<(Timestamp, u64)>,
    visible: u64,
}

impl Kube {
    /// A server as it stands shortly after its start: the namespaces, classes and services that the server makes itself, and the
    /// controllers of namespaces.
    pub fn new(config: Config) -> Kube {
        let start = config.start;
        let mut api = Api::new(config.seed, config.history);
        for kind in kinds::built_in() {
            api.register(kind);
        }
        api.track(config.managed_fields);
        api.look_at_accounts(config.service_accounts);
        api.set_root_ca(config.root_ca);
        api.set_auth(crate::auth::Auth::new(&config.tokens, config.secret, config.rbac));
        bootstrap::fill(&mut api, start);
        if config.rbac {
            bootstrap::roles(&mut api, start);
        }
        let mut kube = Kube {
            api,
            drive: Drive::default(),
            server: Server { version: config.version },
            latency: config.latency,
            rules: Rules::new(config.rules),
            next_ticket: 1,
            replies: BTreeMap::new(),
            watchers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            visible_at: VecDeque::new(),
            visible: 0,
        };
        if !config.unmanaged {
            kube.drive.add(Box::new(bootstrap::Namespaces::default()));
        }
        kube.drive.add(Box::new(crate::crd::Cleanup::default()));
        kube.visible = kube.api.store().resource_version();
        kube
    }

    /// Adds a controller after those that are there; the order is the order in which they run.
    pub fn add_controller(&mut self, controller: Box<dyn Controller>) {
        self.drive.add(controller);
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// For worlds that begin with something in them, and for tests: writes as the server itself.
    pub fn api_mut(&mut self) -> &mut Api {
        &mut self.api
    }

    /// A CustomResourceDefinition, as JSON or YAML; several documents are several definitions.
    pub fn install_crd(&mut self, now: Timestamp, text: &str) -> Result<(), crate::Status> {
        for document in text
            .split("\n---")
            .filter(|part| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#') && line.trim() != "---"))
        {
            let value = crate::http::parse_yaml(document.trim_start_matches("---").as_bytes())?;
            self.api.create(now, "apiextensions.k8s.io/customresourcedefinitions", "", value)?;
        }
        Ok(())
    }

    /// Adds a fault or a delay.
    pub fn add_rule(&mut self, rule: Rule) {
        self.rules.add(rule);
    }

    /// How many requests each rule has met, in the order of their addition.
    pub fn rule_hits(&self) -> Vec<u64> {
        self.rules.hits()
    }

    /// Forgets the history up to now: who watches from before gets `410 Expired`.
    pub fn compact(&mut self) {
        let at = self.api.store().resource_version();
        let keys: Vec<String> = self.api.store().kinds().map(|kind| kind.key.clone()).collect();
        keys.iter().for_each(|key| self.api.store_mut().compact(key, at));
    }

    /// Takes a request. What it changes is changed at once; what it answers comes out of [`Kube::advance`].
    pub fn submit(&mut self, now: Timestamp, request: Request) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let read = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
        let mut delay = if read { self.latency.read } else { self.latency.write };
        let (fault, more) = self.rules.meet(now, &request);
        delay += more;
        match fault {
            Some(status) => self.take_answer(now, ticket, delay, Answer::Reply(crate::http::refused(&status))),
            None => self.serve(now, ticket, Waiting { request, delay, looks: 1 }),
        }
        ticket
    }

    fn serve(&mut self, now: Timestamp, ticket: Ticket, asked: Waiting) {
        self.api.take_missed_default();
        let answer = self.server.serve(&mut self.api, now, &asked.request);
        self.note(now);
        if self.api.take_missed_default() && asked.looks < ACCOUNT_LOOKS {
            let next = now.checked_add(ACCOUNT_WAIT).unwrap_or(Timestamp::MAX);
            self.waiting.insert((next, ticket.0), Waiting { looks: asked.looks + 1, ..asked });
        } else {
            self.take_answer(now, ticket, asked.delay, answer);
        }
    }

    fn take_answer(&mut self, now: Timestamp, ticket: Ticket, delay: SignedDuration, answer: Answer) {
        match answer {
            Answer::Reply(response) => {
                let due = now.checked_add(delay).unwrap_or(Timestamp::MAX);
                self.replies.insert((due, ticket.0), (ticket, response));
            }
            Answer::Watch(watcher) => {
                self.watchers.insert(ticket, *watcher);
            }
        }
    }

    /// The peer went away: nothing more is said to it. What its request changed stays.
    pub fn cancel(&mut self, _now: Timestamp, ticket: Ticket) {
        self.watchers.remove(&ticket);
        self.replies.retain(|_, (one, _)| *one != ticket);
        self.waiting.retain(|(_, one), _| *one != ticket.0);
    }

    /// When [`Kube::advance`] has something to do; not later than `now` means at once.
    pub fn next_due(&self) -> Option<Timestamp> {
        let last = self.api.last_write();
        let replies = self.replies.keys().next().map(|(due, _)| *due);
        let waiting = self.waiting.keys().next().map(|(due, _)| *due);
        let changes = self.visible_at.front().map(|(due, _)| *due).filter(|_| !self.watchers.is_empty());
        let watchers = self.watchers.values().map(|watcher| {
            if watcher.has_news(self.api.store()) && self.visible_at.is_empty() { last } else { watcher.next_due(self.visible) }
        });
        replies.into_iter().chain(waiting).chain(changes).chain(watchers).chain(self.drive.next_due(&self.api, last)).min()
    }

    /// Lets the controllers run, then hands out everything that is due: replies by due time and order, then streams by ticket.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Out> {
        self.drive.settle(&mut self.api, now);
        self.note(now);
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, ticket), asked) = entry.remove_entry();
            self.serve(now, Ticket(ticket), asked);
        }
        while let Some((_, version)) = self.visible_at.pop_front_if(|(due, _)| *due <= now) {
            self.visible = version;
        }
        let mut out = Vec::new();
        while let Some(entry) = self.replies.first_entry().filter(|entry| entry.key().0 <= now) {
            let (ticket, response) = entry.remove();
            out.push(Out::Reply(ticket, response));
        }
        let mut over = Vec::new();
        for (&ticket, watcher) in &mut self.watchers {
            if !watcher.headed {
                watcher.headed = true;
                out.push(Out::Head(ticket, Watcher::head()));
            }
            let sent = watcher.advance(self.api.store(), now, self.visible);
            out.extend(sent.chunks.into_iter().map(|chunk| Out::Chunk(ticket, chunk)));
            if sent.over {
                out.push(Out::End(ticket));
                over.push(ticket);
            }
        }
        over.iter().for_each(|ticket| {
            self.watchers.remove(ticket);
        });
        out
    }

    /// In words, the work that may still move by itself. Watches, bookmarks and replies that are merely late do not count.
    pub fn unsettled(&self) -> Vec<String> {
        self.drive.unsettled(&self.api)
    }

    /// Remembers when what was written until now becomes visible.
    fn note(&mut self, now: Timestamp) {
        let version = self.api.store().resource_version();
        let newest = self.visible_at.back().map_or(self.visible, |(_, version)| *version);
        if version > newest {
            self.visible_at.push_back((now.checked_add(self.latency.watch).unwrap_or(Timestamp::MAX), version));
        }
    }
}
