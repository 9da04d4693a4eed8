//! What kubelets say of their nodes and pods, as Events.

use jiff::Timestamp;

use super::super::effects::Effect;
use super::{Key, State};
use crate::pod;
use crate::words::{self, About, Word};

impl State {
    /// There may be something to say of the pod.
    pub(super) fn mark(&mut self, at: Timestamp, uid: &str) {
        if self.profile.events {
            self.timers.insert((at, Key::PodWords(uid.to_owned())));
        }
    }

    pub(super) fn speak_of_pod(&mut self, uid: &str, now: Timestamp) -> Option<Effect> {
        let tenant = self.tenants.get(uid)?;
        let (view, life) = (&tenant.view, tenant.life.as_ref()?);
        if let Some(next) = pod::next_word(life, now) {
            self.timers.insert((next, Key::PodWords(uid.to_owned())));
        }
        let words = pod::words(view, life, now);
        let about =
            About { kind: "Pod", namespace: &view.namespace, name: &view.name, uid: &view.uid, version: &view.version, node: &view.node };
        let tellings = words::tellings(&about, &words, tenant.spoken);
        (!tellings.is_empty()).then(|| Effect::Say { key: Key::PodWords(uid.to_owned()), tellings, spoken: words.len() })
    }

    pub(super) fn speak_of_node(&self, id: &str) -> Option<Effect> {
        let unit = self.units.get(id)?;
        let name = &unit.machine.private_dns_name;
        let about = About { kind: "Node", namespace: "", name, uid: "", version: "", node: name };
        let tellings = words::tellings(&about, &unit.words, unit.spoken);
        (!tellings.is_empty()).then(|| Effect::Say { key: Key::NodeWords(id.to_owned()), tellings, spoken: unit.words.len() })
    }

    /// A kubelet says something of its node.
    pub(super) fn say(&mut self, id: &str, words: impl IntoIterator<Item = Word>, now: Timestamp) {
        if self.profile.events
            && let Some(unit) = self.units.get_mut(id)
        {
            unit.words.extend(words);
            self.timers.insert((now, Key::NodeWords(id.to_owned())));
        }
    }
}
