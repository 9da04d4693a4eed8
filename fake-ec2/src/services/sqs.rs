//! SQS: standard queues.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::input::{Members, Out, Read};
use super::{Answer, Patience, errors, page};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::lifecycle::later;
use crate::state::queue::{Message, Queue};

/// Attributes that can be set, with their defaults and bounds where they are numbers.
/// Source: SQS API reference, SetQueueAttributes and GetQueueAttributes.
const NUMBERS: [(&str, i64, i64, i64); 6] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 262_144, 1024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
    ("KmsDataKeyReusePeriodSeconds", 300, 60, 86_400),
];
const TEXTS: [&str; 5] = ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "SqsManagedSseEnabled"];

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let entries = |one: fn(&mut World<'_>, &Call, &Members) -> Result<Out, AwsError>, world: &mut World<'_>| batch(world, call, one);
    match call.operation {
        "ChangeMessageVisibility" => change_visibility(world, call, &call.input).map(Out::done),
        "ChangeMessageVisibilityBatch" => entries(change_visibility, world),
        "CreateQueue" => create(world, call),
        "DeleteMessage" => delete_message(world, call, &call.input).map(Out::done),
        "DeleteMessageBatch" => entries(delete_message, world),
        "DeleteQueue" => {
            let name = queue(world, call)?.name.clone();
            world.region.queues.remove(&name);
            Ok(Out::new().done())
        }
        "GetQueueAttributes" => attributes(world, call),
        "GetQueueUrl" => {
            let name = call.input.text("QueueName").unwrap_or_default();
            let found = world.region.queues.contains_key(name);
            if found { Ok(json!({"QueueUrl": url(world, name)})) } else { Err(no_queue()) }
        }
        "ListQueueTags" => Ok(Out::new().with("Tags", json!(queue(world, call)?.tags)).done()),
        "ListQueues" => list(world, call),
        "PurgeQueue" => {
            queue(world, call)?.purge();
            Ok(Out::new().done())
        }
        "ReceiveMessage" => receive(world, call),
        "SendMessage" => send(world, call, &call.input).map(Out::done),
        "SendMessageBatch" => entries(send, world),
        "SetQueueAttributes" => set_attributes(world, call),
        "TagQueue" => {
            let tags = call.input.part("Tags").cloned().unwrap_or_default();
            let pairs = tags.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
            queue(world, call)?.tags.extend(pairs);
            Ok(Out::new().done())
        }
        "UntagQueue" => {
            let keys: Vec<String> = call.input.texts("TagKeys").into_iter().map(str::to_owned).collect();
            queue(world, call)?.tags.retain(|key, _| !keys.contains(key));
            Ok(Out::new().done())
        }
        _ => Err(errors::unsupported(call)),
    }
}

/// What may be done to a queue of another account. Source: SQS API reference, AddPermission and the notes of each other operation,
/// "Cross-account permissions don't apply to this action".
const ACROSS: [&str; 9] = [
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "DeleteMessage",
    "DeleteMessageBatch",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ReceiveMessage",
    "SendMessage",
    "SendMessageBatch",
];

/// The account of the queue that a call is about, if it is not the caller's own.
pub(super) fn abroad(call: &Call) -> Option<&str> {
    if call.service != crate::model::Service::Sqs || !ACROSS.contains(&call.operation) {
        return None;
    }
    let of_url = call.input.text("QueueUrl").and_then(|url| url.rsplit('/').nth(1)).filter(|account| crate::state::is_account(account));
    let owner = of_url.or_else(|| call.input.text("QueueOwnerAWSAccountId"))?;
    (owner != call.caller.account).then_some(owner)
}

fn no_queue() -> AwsError {
    errors::NO_QUEUE.error(&[]).with_query_code("AWS.SimpleQueueService.NonExistentQueue")
}

fn url(world: &World<'_>, name: &str) -> String {
    let own = || format!("https://sqs.{}.amazonaws.com", world.region.name);
    let base = world.account.settings.queue_url_base.clone().unwrap_or_else(own);
    format!("{base}/{}/{name}", world.account.id)
}

fn arn(world: &World<'_>, name: &str) -> String {
    world.account.arn("sqs", &world.region.name, name)
}

/// The queue that a request's URL names: its last two segments are account and name, whatever the host.
fn queue<'a>(world: &'a mut World<'_>, call: &Call) -> Result<&'a mut Queue, AwsError> {
    let url = call.input.text("QueueUrl").unwrap_or_default();
    let mut segments = url.rsplit('/');
    let (name, account) = (segments.next().unwrap_or_default(), segments.next());
    if account.is_some_and(|account| account != world.account.id) {
        return Err(no_queue());
    }
    world.region.queues.get_mut(name).ok_or_else(no_queue)
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.text("QueueName").unwrap_or_default();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if name.ends_with(".fifo") || call.input.part("Attributes").is_some_and(|attributes| attributes.text("FifoQueue") == Some("true")) {
        return Err(errors::SQS_FIFO.error(&[]));
    }
    if !(1..=80).contains(&name.len()) || !name.chars().all(allowed) {
        let why = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.";
        return Err(errors::SQS_VALUE.error(&[name, "QueueName", why]));
    }
    let attributes = checked_attributes(&call.input)?;
    if let Some(held) = world.region.queues.get(name) {
        let differs = attributes.iter().find(|(key, value)| attribute(held, key).as_ref() != Some(*value));
        if let Some((key, _)) = differs {
            return Err(errors::QUEUE_DIFFERS.error(&[key]).with_query_code("QueueAlreadyExists"));
        }
    } else {
        let mut queue = Queue::new(name, world.now, attributes);
        let tags = call.input.part("tags").or_else(|| call.input.part("Tags")).cloned().unwrap_or_default();
        queue.tags = tags.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect();
        world.region.queues.insert(name.to_owned(), queue);
    }
    Ok(json!({"QueueUrl": url(world, name)}))
}

fn checked_attributes(input: &Members) -> Result<BTreeMap<String, String>, AwsError> {
    let mut checked = BTreeMap::new();
    for (name, value) in input.part("Attributes").into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if let Some((_, _, least, most)) = NUMBERS.iter().find(|(number, ..)| number == name) {
            if !value.parse::<i64>().is_ok_and(|number| (*least..=*most).contains(&number)) {
                return Err(errors::SQS_ATTRIBUTE_VALUE.error(&[name]));
            }
        } else if !TEXTS.contains(&name.as_str()) {
            return Err(errors::SQS_ATTRIBUTE.error(&[name]));
        }
        checked.insert(name.clone(), value.to_owned());
    }
    Ok(checked)
}

fn attribute(queue: &Queue, name: &str) -> Option<String> {
    let default = || NUMBERS.iter().find(|(number, ..)| *number == name).map(|(_, default, ..)| default.to_string());
    queue.attributes.get(name).cloned().or_else(default)
}

fn set_attributes(world: &mut World<'_>, call: &Call) -> Answer {
    let attributes = checked_attributes(&call.input)?;
    let now = world.now;
    let queue = queue(world, call)?;
    queue.attributes.extend(attributes);
    queue.modified = now;
    Ok(Out::new().done())
}

fn attributes(world: &mut World<'_>, call: &Call) -> Answer {
    let now = world.now;
    let name = queue(world, call)?.name.clone();
    let arn = arn(world, &name);
    let queue = queue(world, call)?;
    let (ready, in_flight, delayed) = queue.counts(now);
    let mut all: Map<String, Value> = NUMBERS
        .iter()
        .filter(|(name, ..)| *name != "KmsDataKeyReusePeriodSeconds")
        .filter_map(|(name, ..)| Some(((*name).to_owned(), attribute(queue, name)?.into())))
        .collect();
    all.extend(queue.attributes.iter().map(|(name, value)| (name.clone(), value.clone().into())));
    let fixed = [
        ("ApproximateNumberOfMessages", ready.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
        ("CreatedTimestamp", queue.created.as_second().to_string()),
        ("LastModifiedTimestamp", queue.modified.as_second().to_string()),
        ("QueueArn", arn),
    ];
    all.extend(fixed.map(|(name, value)| (name.to_owned(), value.into())));
    let wanted = call.input.texts("AttributeNames");
    let known =
        |name: &str| name == "All" || all.contains_key(name) || TEXTS.contains(&name) || NUMBERS.iter().any(|(number, ..)| *number == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        return Err(errors::SQS_ATTRIBUTE.error(&[unknown]));
    }
    if !wanted.contains(&"All") {
        all.retain(|name, _| wanted.contains(&name.as_str()));
    }
    Ok(if all.is_empty() { Out::new().done() } else { json!({"Attributes": all}) })
}

fn list(world: &mut World<'_>, call: &Call) -> Answer {
    let prefix = call.input.text("QueueNamePrefix").unwrap_or_default();
    let length = call.input.int("MaxResults").and_then(|most| usize::try_from(most).ok()).unwrap_or(1000).clamp(1, 1000);
    let names = world.region.queues.keys().filter(|name| name.starts_with(prefix));
    let rows = names.map(|name| (name.clone(), url(world, name))).collect();
    let (urls, token) = page::cut_by(call, length, call.input.text("NextToken"), &errors::NEXT_TOKEN, rows)?;
    // A token is given only to callers that asked for pages. Source: SQS API reference, ListQueues.
    let token = token.filter(|_| call.input.int("MaxResults").is_some());
    Ok(Out::new().maybe("QueueUrls", (!urls.is_empty()).then_some(urls)).maybe("NextToken", token).done())
}

fn seconds(input: &Members, member: &str, most: i64) -> Result<Option<SignedDuration>, AwsError> {
    let Some(asked) = input.int(member) else { return Ok(None) };
    if !(0..=most).contains(&asked) {
        let why = format!("Must be >= 0 and <= {most}, if provided.");
        return Err(errors::SQS_VALUE.error(&[&asked.to_string(), member, &why]));
    }
    Ok(Some(SignedDuration::from_secs(asked)))
}

/// Sends one message: a request of its own, or an entry of a batch.
fn send(world: &mut World<'_>, call: &Call, entry: &Members) -> Result<Out, AwsError> {
    let body = entry.text("MessageBody").ok_or_else(|| errors::MISSING.error(&["MessageBody"]))?;
    let delay = seconds(entry, "DelaySeconds", 900)?;
    let attributes = entry.part("MessageAttributes").filter(|attributes| !attributes.is_empty());
    let (now, id) = (world.now, world.account.entropy.uuid("message"));
    let queue = queue(world, call)?;
    if body.len() > usize::try_from(queue.seconds("MaximumMessageSize", 262_144)).unwrap_or(usize::MAX) {
        let most = queue.seconds("MaximumMessageSize", 262_144);
        return Err(errors::MESSAGE_LONG.error(&[&most.to_string()]));
    }
    let delay = delay.unwrap_or_else(|| SignedDuration::from_secs(queue.seconds("DelaySeconds", 0)));
    queue.send(now, id.clone(), body.to_owned(), attributes.map(|attributes| json!(attributes)), delay);
    let out = Out::new().with("MD5OfMessageBody", md5_hex(body.as_bytes())).with("MessageId", id);
    Ok(out.maybe("MD5OfMessageAttributes", attributes.map(md5_of_attributes)))
}

/// How long a ReceiveMessage that finds nothing waits; `None` when it is answered at once.
pub(super) fn must_wait(world: &mut World<'_>, call: &Call) -> Option<Patience> {
    let now = world.now;
    let asked = call.input.int("WaitTimeSeconds");
    let queue = queue(world, call).ok()?;
    let wait = asked.unwrap_or_else(|| queue.seconds("ReceiveMessageWaitTimeSeconds", 0)).clamp(0, 20);
    (wait > 0 && !queue.any_ready(now)).then(|| (later(now, SignedDuration::from_secs(wait)), queue.next_visible()))
}

fn receive(world: &mut World<'_>, call: &Call) -> Answer {
    let now = world.now;
    let hide = seconds(&call.input, "VisibilityTimeout", 43_200)?;
    seconds(&call.input, "WaitTimeSeconds", 20)?;
    let most = call.input.int("MaxNumberOfMessages").unwrap_or(1);
    if !(1..=10).contains(&most) {
        let why = "Must be between 1 and 10, if provided.";
        return Err(errors::SQS_VALUE.error(&[&most.to_string(), "MaxNumberOfMessages", why]));
    }
    let account = world.account.id.clone();
    let source = queue(world, call)?;
    let name = source.name.clone();
    let hide = hide.unwrap_or_else(|| SignedDuration::from_secs(source.seconds("VisibilityTimeout", 30)));
    let taken = source.receive(now, usize::try_from(most).unwrap_or(1), hide);
    let limit = redrive(source);
    let mut shown = Vec::new();
    for (number, message) in taken {
        match &limit {
            Some((target, receives)) if message.receives > *receives => bury(world, &name, target, number),
            _ => shown.push(render(call, &account, number, &message)),
        }
    }
    Ok(if shown.is_empty() { Out::new().done() } else { json!({"Messages": shown}) })
}

/// The dead-letter queue's name and how often a message may be received before it goes there.
fn redrive(queue: &Queue) -> Option<(String, u64)> {
    let policy: Value = serde_json::from_str(queue.attributes.get("RedrivePolicy")?).ok()?;
    let target = policy.text("deadLetterTargetArn")?.rsplit(':').next()?.to_owned();
    Some((target, u64::try_from(policy.int("maxReceiveCount")?).ok()?))
}

fn bury(world: &mut World<'_>, from: &str, to: &str, number: u64) {
    let now = world.now;
    let Some(message) = world.region.queues.get_mut(from).and_then(|queue| queue.remove(number)) else { return };
    if let Some(target) = world.region.queues.get_mut(to) {
        target.send(now, message.id, message.body, message.attributes, SignedDuration::ZERO);
    }
}

fn render(call: &Call, account: &str, number: u64, message: &Message) -> Value {
    let mut wanted = call.input.texts("AttributeNames");
    wanted.extend(call.input.texts("MessageSystemAttributeNames"));
    let all = wanted.contains(&"All");
    let system = [
        ("SenderId", account.to_owned()),
        ("SentTimestamp", message.sent.as_millisecond().to_string()),
        ("ApproximateReceiveCount", message.receives.to_string()),
        ("ApproximateFirstReceiveTimestamp", message.first_received.unwrap_or(message.sent).as_millisecond().to_string()),
    ];
    let system: Map<String, Value> =
        system.into_iter().filter(|(name, _)| all || wanted.contains(name)).map(|(name, value)| (name.to_owned(), value.into())).collect();
    let attributes = message.attributes.as_ref().and_then(Value::as_object).map(|attributes| {
        let names = call.input.texts("MessageAttributeNames");
        let asked = |name: &str| {
            names.iter().any(|wanted| {
                matches!(*wanted, "All" | ".*")
                    || *wanted == name
                    || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
            })
        };
        attributes.iter().filter(|(name, _)| asked(name)).map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>()
    });
    let attributes = attributes.filter(|attributes| !attributes.is_empty());
    Out::new()
        .with("MessageId", message.id.clone())
        .with("ReceiptHandle", receipt(number, message))
        .with("MD5OfBody", md5_hex(message.body.as_bytes()))
        .with("Body", message.body.clone())
        .maybe("Attributes", (!system.is_empty()).then_some(system))
        .maybe("MD5OfMessageAttributes", attributes.as_ref().map(md5_of_attributes))
        .maybe("MessageAttributes", attributes)
        .done()
}

/// A receipt names the message and the receive: each receive has its own.
fn receipt(number: u64, message: &Message) -> String {
    URL_SAFE_NO_PAD.encode(format!("{number}:{}:{}", message.receives, message.id))
}

fn open_receipt(entry: &Members) -> Result<u64, AwsError> {
    let receipt = entry.text("ReceiptHandle").unwrap_or_default();
    let number = || {
        let bytes = URL_SAFE_NO_PAD.decode(receipt).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.splitn(3, ':');
        let number = parts.next()?.parse().ok()?;
        parts.nth(1).map(|_| number)
    };
    number().ok_or_else(|| errors::RECEIPT.error(&[receipt]))
}

/// Deleting what is gone already succeeds.
fn delete_message(world: &mut World<'_>, call: &Call, entry: &Members) -> Result<Out, AwsError> {
    let queue = queue(world, call)?;
    let number = open_receipt(entry)?;
    queue.remove(number);
    Ok(Out::new())
}

fn change_visibility(world: &mut World<'_>, call: &Call, entry: &Members) -> Result<Out, AwsError> {
    let now = world.now;
    let queue = queue(world, call)?;
    let number = open_receipt(entry)?;
    let back = later(now, seconds(entry, "VisibilityTimeout", 43_200)?.unwrap_or_default());
    if !queue.change_visibility(now, number, back) {
        let receipt = entry.text("ReceiptHandle").unwrap_or_default();
        let why = "Reason: Message does not exist or is not available for visibility timeout change.";
        return Err(errors::SQS_VALUE.error(&[receipt, "ReceiptHandle", why]));
    }
    Ok(Out::new())
}

/// Up to ten entries with ids of their own; each succeeds or fails alone.
fn batch(world: &mut World<'_>, call: &Call, one: fn(&mut World<'_>, &Call, &Members) -> Result<Out, AwsError>) -> Answer {
    queue(world, call)?;
    let entries: Vec<&Members> = call.input.list("Entries").iter().filter_map(Value::as_object).collect();
    if entries.is_empty() {
        return Err(errors::BATCH_EMPTY.error(&[&format!("{}RequestEntry", call.operation)]));
    }
    if entries.len() > 10 {
        return Err(errors::BATCH_LONG.error(&[&entries.len().to_string()]));
    }
    let ids: Vec<&str> = entries.iter().map(|entry| entry.text("Id").unwrap_or_default()).collect();
    if let Some((_, repeated)) = ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id)) {
        return Err(errors::BATCH_IDS.error(&[repeated]));
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (entry, id) in entries.into_iter().zip(ids) {
        match one(world, call, entry) {
            Ok(out) => successful.push(out.with("Id", id).done()),
            Err(why) => failed.push(json!({"Id": id, "SenderFault": why.status < 500, "Code": why.code, "Message": why.message})),
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}

fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Source: SQS developer guide, "Calculating the MD5 message digest for message attributes": by name, each of name, type and value with
/// its length in four bytes, big endian; one byte before the value says whether it is text (1) or binary (2).
fn md5_of_attributes(attributes: &Map<String, Value>) -> String {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut pieces: Vec<(Option<u8>, Vec<u8>)> = Vec::new();
    for (name, attribute) in sorted {
        pieces.push((None, name.clone().into_bytes()));
        pieces.push((None, attribute.text("DataType").unwrap_or_default().as_bytes().to_vec()));
        match attribute.text("StringValue") {
            Some(text) => pieces.push((Some(1), text.as_bytes().to_vec())),
            None => pieces.push((Some(2), STANDARD.decode(attribute.text("BinaryValue").unwrap_or_default()).unwrap_or_default())),
        }
    }
    let mut hash = Md5::new();
    for (kind, bytes) in pieces {
        if let Some(kind) = kind {
            hash.update([kind]);
        }
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(&bytes);
    }
    hex(&hash.finalize())
}
