//! SQS queues: messages that wait, that are in flight, and that come back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lifecycle::later;
use super::network::Tags;

/// A standard queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Queue {
    pub name: String,
    pub created: Timestamp,
    pub modified: Timestamp,
    /// Attributes that were set, by name.
    pub attributes: BTreeMap<String, String>,
    pub tags: Tags,
    sequence: u64,
    /// Id and body of the message that came in last, whatever became of it.
    last: Option<(String, String)>,
    messages: BTreeMap<u64, Message>,
    /// Messages that may be received, oldest first.
    ready: BTreeSet<u64>,
    /// Messages in flight or delayed, by the instant at which they become visible.
    hidden: BTreeSet<(Timestamp, u64)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub body: String,
    /// `MessageAttributes` as they were sent.
    pub attributes: Option<Value>,
    pub sent: Timestamp,
    pub first_received: Option<Timestamp>,
    pub receives: u64,
    /// Visible again from here on, if it is not ready.
    visible: Timestamp,
    /// Received at least once and not back yet.
    in_flight: bool,
}

impl Queue {
    pub fn new(name: &str, now: Timestamp, attributes: BTreeMap<String, String>) -> Self {
        Self {
            name: name.to_owned(),
            created: now,
            modified: now,
            attributes,
            tags: Tags::new(),
            sequence: 0,
            last: None,
            messages: BTreeMap::new(),
            ready: BTreeSet::new(),
            hidden: BTreeSet::new(),
        }
    }

    /// An attribute in seconds, or its default.
    pub fn seconds(&self, attribute: &str, default: i64) -> i64 {
        self.attributes.get(attribute).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// Adds a message that becomes visible after a delay.
    pub fn send(&mut self, now: Timestamp, id: String, body: String, attributes: Option<Value>, delay: SignedDuration) {
        self.sequence += 1;
        self.last = Some((id.clone(), body.clone()));
        let visible = later(now, delay);
        let message = Message { id, body, attributes, sent: now, first_received: None, receives: 0, visible, in_flight: false };
        self.messages.insert(self.sequence, message);
        if visible <= now {
            self.ready.insert(self.sequence);
        } else {
            self.hidden.insert((visible, self.sequence));
        }
    }

    /// Id and body of the message that came in last, deleted or not.
    pub fn last(&self) -> Option<&(String, String)> {
        self.last.as_ref()
    }

    /// Brings back what is visible again and drops what is too old.
    pub fn settle(&mut self, now: Timestamp) {
        while let Some((at, number)) = self.hidden.first().copied().filter(|(at, _)| *at <= now) {
            self.hidden.remove(&(at, number));
            if let Some(message) = self.messages.get_mut(&number) {
                message.in_flight = false;
                self.ready.insert(number);
            }
        }
        let kept = SignedDuration::from_secs(self.seconds("MessageRetentionPeriod", 345_600));
        while let Some((number, _)) = self.messages.first_key_value().filter(|(_, message)| later(message.sent, kept) <= now) {
            let number = *number;
            self.remove(number);
        }
    }

    pub fn any_ready(&mut self, now: Timestamp) -> bool {
        self.settle(now);
        !self.ready.is_empty()
    }

    /// When the next message that is hidden comes to be seen.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.hidden.first().map(|(at, _)| *at)
    }

    /// Takes up to `most` messages and hides each for `hide`. Returns number and message.
    pub fn receive(&mut self, now: Timestamp, most: usize, hide: SignedDuration) -> Vec<(u64, Message)> {
        self.settle(now);
        let back = later(now, hide);
        let numbers: Vec<u64> = self.ready.iter().take(most).copied().collect();
        let mut taken = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(message) = self.messages.get_mut(&number) else { continue };
            message.receives += 1;
            message.first_received.get_or_insert(now);
            taken.push((number, message.clone()));
            self.hide(number, now, back);
        }
        taken
    }

    /// Moves a message that is in flight to another instant of return; false if it is not in flight.
    pub fn change_visibility(&mut self, now: Timestamp, number: u64, back: Timestamp) -> bool {
        self.settle(now);
        let in_flight = self.messages.get(&number).is_some_and(|message| message.in_flight);
        if in_flight {
            self.hide(number, now, back);
        }
        in_flight
    }

    fn hide(&mut self, number: u64, now: Timestamp, back: Timestamp) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        self.ready.remove(&number);
        self.hidden.remove(&(message.visible, number));
        message.visible = back;
        message.in_flight = back > now;
        if back > now {
            self.hidden.insert((back, number));
        } else {
            self.ready.insert(number);
        }
    }

    /// Removes a message, in whatever state it is.
    pub fn remove(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.ready.remove(&number);
        self.hidden.remove(&(message.visible, number));
        Some(message)
    }

    pub fn purge(&mut self) {
        self.messages.clear();
        self.ready.clear();
        self.hidden.clear();
    }

    /// How many are ready, in flight, delayed.
    pub fn counts(&mut self, now: Timestamp) -> (usize, usize, usize) {
        self.settle(now);
        let in_flight = self.hidden.iter().filter(|(_, number)| self.messages.get(number).is_some_and(|message| message.in_flight)).count();
        (self.ready.len(), in_flight, self.hidden.len() - in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).expect("in range")
    }

    #[test]
    fn a_message_comes_back_after_its_visibility_timeout_and_goes_when_removed() {
        let mut queue = Queue::new("q", at(0), BTreeMap::new());
        queue.send(at(0), "m".into(), "hello".into(), None, SignedDuration::ZERO);
        let taken = queue.receive(at(1), 10, SignedDuration::from_secs(20));
        assert_eq!((taken.len(), queue.next_visible()), (1, Some(at(21))));
        assert_eq!(queue.counts(at(2)), (0, 1, 0));
        assert!(!queue.any_ready(at(20)));
        let again = queue.receive(at(21), 10, SignedDuration::from_secs(20));
        assert_eq!((again[0].1.receives, again[0].1.first_received), (2, Some(at(1))));
        assert!(queue.remove(again[0].0).is_some());
        assert!(!queue.any_ready(at(100)));
    }

    #[test]
    fn a_delayed_message_is_not_in_flight() {
        let mut queue = Queue::new("q", at(0), BTreeMap::new());
        queue.send(at(0), "m".into(), "hello".into(), None, SignedDuration::from_secs(5));
        assert_eq!(queue.counts(at(4)), (0, 0, 1));
        assert_eq!(queue.counts(at(5)), (1, 0, 0));
    }

    #[test]
    fn an_old_message_is_dropped() {
        let mut queue = Queue::new("q", at(0), BTreeMap::from([("MessageRetentionPeriod".into(), "60".into())]));
        queue.send(at(0), "m".into(), "hello".into(), None, SignedDuration::ZERO);
        assert!(queue.any_ready(at(59)));
        assert!(!queue.any_ready(at(60)));
    }

    #[test]
    fn visibility_zero_brings_a_message_back_at_once() {
        let mut queue = Queue::new("q", at(0), BTreeMap::new());
        queue.send(at(0), "m".into(), "hello".into(), None, SignedDuration::ZERO);
        let taken = queue.receive(at(0), 1, SignedDuration::from_secs(30));
        assert!(queue.change_visibility(at(1), taken[0].0, at(1)));
        assert!(queue.any_ready(at(1)));
        assert!(!queue.change_visibility(at(1), taken[0].0, at(9)), "not in flight any more");
    }
}
