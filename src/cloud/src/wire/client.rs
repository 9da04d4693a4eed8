//! Makes calls: writes the request, tries again what may be tried again, reads the reply.

use super::failure::Failure;
use super::order;
use super::query;
use super::retry;
use super::service::{Protocol, Service};
use super::transport::{self, Incoming, Outgoing, Surroundings, Transport};
use super::xml::Element;
use crate::port::{CloudError, TRANSPORT};
use ambient::{Clock, Entropy, Stream};
use aws_smithy_runtime_api::client::result::SdkError;
use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One operation and its parameters, by the model's names.
#[derive(Clone, Debug)]
pub struct Call {
    pub service: Service,
    pub operation: &'static str,
    /// An object. For EKS, the members that stand in the path are taken out of it.
    pub parameters: Value,
    /// False for dry runs, as upstream makes them (`A/pkg/controllers/nodeclass/validation.go`, NopRetryer).
    pub retried: bool,
}

impl Call {
    pub fn new(service: Service, operation: &'static str, parameters: Value) -> Self {
        Call { service, operation, parameters, retried: true }
    }

    pub fn ec2(operation: &'static str, parameters: Value) -> Self {
        Call::new(Service::Ec2, operation, parameters)
    }

    pub fn once(self) -> Self {
        Call { retried: false, ..self }
    }

    /// How often it may be tried, the first try included.
    pub fn attempts(&self) -> u32 {
        if self.retried { retry::ATTEMPTS } else { 1 }
    }

    /// `ec2:CreateFleet`.
    fn name(&self) -> String {
        format!("{}:{}", self.service.signing_name(), self.operation)
    }
}

/// What a call answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Xml(Element),
    Json(Value),
}

impl Reply {
    /// The root of an XML reply; an empty element for a JSON one.
    pub fn xml(self) -> Element {
        match self {
            Reply::Xml(element) => element,
            Reply::Json(_) => Element::default(),
        }
    }

    /// A JSON reply; null for an XML one.
    pub fn json(self) -> Value {
        match self {
            Reply::Json(value) => value,
            Reply::Xml(_) => Value::Null,
        }
    }
}

/// One client for every service of the adapter.
pub struct Client {
    transports: BTreeMap<Service, Transport>,
    clock: Clock,
    pauses: Mutex<Stream>,
    ids: Mutex<Stream>,
    /// Every call that was made, for tests that compare parameters.
    #[cfg(test)]
    pub made: Mutex<Vec<Call>>,
}

impl Client {
    pub fn new(surroundings: &Surroundings, entropy: &Entropy) -> Arc<Self> {
        Arc::new(Client {
            transports: Service::ALL.into_iter().map(|service| (service, transport::build(service, surroundings))).collect(),
            clock: surroundings.clock.clone(),
            pauses: Mutex::new(entropy.stream("retry pauses")),
            ids: Mutex::new(entropy.stream("request ids")),
            #[cfg(test)]
            made: Mutex::default(),
        })
    }

    /// A random id of the form of a UUIDv4: invocation ids, client tokens.
    pub fn id(&self) -> String {
        let mut bytes = [0u8; 16];
        lock(&self.ids).fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Makes the call, up to three times.
    pub async fn call(&self, call: &Call) -> Result<Reply, CloudError> {
        self.call_read(call, decode).await
    }

    /// The same, with a reply that is read in another way.
    async fn call_read<T>(&self, call: &Call, read: impl Fn(&Call, &Incoming) -> Result<T, CloudError>) -> Result<T, CloudError> {
        #[cfg(test)]
        lock(&self.made).push(call.clone());
        let attempts = call.attempts();
        let invocation = self.id();
        let mut attempt = 1;
        loop {
            match self.try_once(call, &invocation, attempt).await.and_then(|incoming| read(call, &incoming)) {
                Err(error) if attempt < attempts && retry::is_retryable(&error) => {
                    let pause = retry::pause(attempt, &mut lock(&self.pauses));
                    tracing::debug!(operation = error.operation, code = error.code, attempt, "trying again");
                    self.clock.sleep(pause).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// One try, counted from one. `invocation` is the same for all tries of a call.
    #[cfg(test)]
    pub(crate) async fn attempt(&self, call: &Call, invocation: &str, attempt: u32) -> Result<Reply, CloudError> {
        decode(call, &self.try_once(call, invocation, attempt).await?)
    }

    async fn try_once(&self, call: &Call, invocation: &str, attempt: u32) -> Result<Incoming, CloudError> {
        let mut outgoing = encode(call)?;
        outgoing.unsigned.push(("amz-sdk-invocation-id", invocation.to_owned()));
        outgoing.unsigned.push(("amz-sdk-request", format!("attempt={attempt}; max={}", call.attempts())));
        let transport = self.transports.get(&call.service).expect("a transport for every service");
        transport.invoke(outgoing).await.map_err(|error| lost(call, &error))
    }

    /// Every page of a call, in order: `token` names the parameter, `next` reads the reply's token.
    pub async fn pages(&self, mut call: Call, token: &'static str, next: fn(&Reply) -> Option<String>) -> Result<Vec<Reply>, CloudError> {
        let mut pages = Vec::new();
        loop {
            let reply = self.call(&call).await?;
            let more = next(&reply);
            pages.push(reply);
            match (more, call.parameters.as_object_mut()) {
                (Some(more), Some(parameters)) => parameters.insert(token.to_owned(), Value::String(more)),
                _ => return Ok(pages),
            };
        }
    }

    /// Every page of an EC2 call, each let go once it is read: long lists are dear as trees.
    pub async fn ec2_each(&self, operation: &'static str, parameters: Value, mut read: impl FnMut(&Element)) -> Result<(), CloudError> {
        let mut call = Call::ec2(operation, parameters);
        loop {
            let reply = self.call(&call).await?;
            let more = ec2_token(&reply);
            read(&reply.xml());
            match (more, call.parameters.as_object_mut()) {
                (Some(more), Some(parameters)) => parameters.insert("NextToken".to_owned(), Value::String(more)),
                _ => return Ok(()),
            };
        }
    }

    /// Every page of an EC2 call that is made again and again, as `read` reads it. `known` are the pages of the last time: one that
    /// came just so is not read again.
    pub async fn ec2_polled<T>(
        &self,
        operation: &'static str,
        parameters: Value,
        known: &Mutex<Vec<Arc<Page<T>>>>,
        read: impl Fn(&Element) -> T,
    ) -> Result<Vec<Arc<Page<T>>>, CloudError> {
        let mut call = Call::ec2(operation, parameters);
        let mut pages = Vec::new();
        loop {
            let before = lock(known).get(pages.len()).cloned();
            let page = self.call_read(&call, |call, incoming| match &before {
                Some(page) if page.is(incoming) => Ok(page.clone()),
                _ => {
                    let reply = decode(call, incoming)?;
                    let more = ec2_token(&reply);
                    Ok(Arc::new(Page { body: incoming.body.clone(), more, content: read(&reply.xml()) }))
                }
            });
            let page = page.await?;
            let more = page.more.clone();
            pages.push(page);
            match (more, call.parameters.as_object_mut()) {
                (Some(more), Some(parameters)) => parameters.insert("NextToken".to_owned(), Value::String(more)),
                _ => break,
            };
        }
        lock(known).clone_from(&pages);
        Ok(pages)
    }

    /// Every page of an EC2 call.
    pub async fn ec2_pages(&self, operation: &'static str, parameters: Value) -> Result<Vec<Element>, CloudError> {
        let pages = self.pages(Call::ec2(operation, parameters), "NextToken", ec2_token).await?;
        Ok(pages.into_iter().map(Reply::xml).collect())
    }
}

/// A page of a reply, with what was read from it.
pub struct Page<T> {
    body: Bytes,
    more: Option<String>,
    pub content: T,
}

impl<T> Page<T> {
    /// Whether the reply is this page once more, but for the request's id.
    fn is(&self, incoming: &Incoming) -> bool {
        (200..300).contains(&incoming.status) && around_request_id(&self.body) == around_request_id(&incoming.body)
    }
}

/// What stands before and after the value of an EC2 reply's `requestId`, which is among its first elements.
fn around_request_id(body: &[u8]) -> (&[u8], &[u8]) {
    const TAG: &[u8] = b"<requestId>";
    let head = &body[..body.len().min(512)];
    let Some(at) = head.windows(TAG.len()).position(|window| window == TAG) else { return (body, &[]) };
    let (before, id) = body.split_at(at + TAG.len());
    let end = id.iter().position(|byte| *byte == b'<').unwrap_or(id.len());
    (before, &id[end..])
}

fn ec2_token(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Xml(root) => root.string("nextToken").filter(|token| !token.is_empty()),
        Reply::Json(_) => None,
    }
}

/// A mutex whose holder panicked still holds a usable stream or map.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost<E: std::error::Error + Send + Sync + 'static, R: std::fmt::Debug + Send + Sync + 'static>(
    call: &Call,
    error: &SdkError<E, R>,
) -> CloudError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    CloudError { operation: call.name(), code: TRANSPORT.to_owned(), message, status: 0, request_id: None }
}

/// Writes a call as its service speaks, members in the model's order as AWS's clients write them.
pub(crate) fn encode(call: &Call) -> Result<Outgoing, CloudError> {
    let parameters = order::as_modelled(call.operation, &call.parameters);
    let form = |body| Outgoing {
        method: "POST",
        path: "/".to_owned(),
        headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
        body,
        unsigned: Vec::new(),
    };
    Ok(match call.service.protocol() {
        Protocol::Ec2Query { version } => form(query::ec2(call.operation, version, &parameters)),
        Protocol::AwsQuery { version } => form(query::aws(call.operation, version, &parameters)),
        Protocol::Json { content_type, target } => {
            let mut headers = vec![("content-type", content_type.to_owned()), ("x-amz-target", format!("{target}.{}", call.operation))];
            if call.service == Service::Sqs {
                // SQS once spoke awsQuery; asked so, it sends the old code beside the new one.
                headers.push(("x-amzn-query-mode", "true".to_owned()));
            }
            Outgoing { method: "POST", path: "/".to_owned(), headers, body: parameters.to_string(), unsigned: Vec::new() }
        }
        Protocol::RestJson => rest(call)?,
    })
}

/// EKS and ARC bind verbs and paths; of each one operation is used.
fn rest(call: &Call) -> Result<Outgoing, CloudError> {
    let unknown = |message: &str| CloudError {
        operation: call.name(),
        code: "InvalidRequest".to_owned(),
        message: message.to_owned(),
        status: 0,
        request_id: None,
    };
    let (folder, label) = match call.operation {
        "DescribeCluster" => ("clusters", "name"),
        "GetManagedResource" => ("managedresources", "resourceIdentifier"),
        _ => return Err(unknown("the operation has no path")),
    };
    match call.parameters.get(label).and_then(Value::as_str) {
        Some(name) if !name.is_empty() => {
            let path = format!("/{folder}/{}", utf8_percent_encode(name, query::ESCAPED));
            Ok(Outgoing { method: "GET", path, headers: Vec::new(), body: String::new(), unsigned: Vec::new() })
        }
        _ => Err(unknown("the resource has no name")),
    }
}

fn decode(call: &Call, incoming: &Incoming) -> Result<Reply, CloudError> {
    let protocol = call.service.protocol();
    let header = |name: &str| incoming.headers.get(name).map(String::as_str);
    if !(200..300).contains(&incoming.status) {
        let failure = Failure {
            status: incoming.status,
            body: &incoming.body,
            request_id: header("x-amzn-requestid").or_else(|| header("x-amz-request-id")),
            error_type: header("x-amzn-errortype"),
            query_error: header("x-amzn-query-error"),
        };
        return Err(failure.read(protocol, &call.name()));
    }
    let unreadable = |message: String| CloudError {
        operation: call.name(),
        code: "UnreadableReply".to_owned(),
        message,
        status: incoming.status,
        request_id: header("x-amzn-requestid").map(str::to_owned),
    };
    match protocol {
        Protocol::Ec2Query { .. } => Element::parse(&incoming.body).map(Reply::Xml).map_err(|error| unreadable(error.to_string())),
        Protocol::AwsQuery { .. } => {
            let mut root = Element::parse(&incoming.body).map_err(|error| unreadable(error.to_string()))?;
            // XResponse/XResult: the result is what the operation answers.
            let wanted = format!("{}Result", call.operation);
            let at = root.children.iter().position(|child| child.name == wanted);
            Ok(Reply::Xml(at.map(|at| root.children.swap_remove(at)).unwrap_or(root)))
        }
        Protocol::Json { .. } | Protocol::RestJson if incoming.body.is_empty() => Ok(Reply::Json(Value::Object(serde_json::Map::new()))),
        Protocol::Json { .. } | Protocol::RestJson => {
            serde_json::from_slice(&incoming.body).map(Reply::Json).map_err(|error| unreadable(error.to_string()))
        }
    }
}
