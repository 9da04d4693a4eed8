//! How a cloud is written down, and comes back: helpers of serde for what JSON has no form for.

/// Words of a fixed vocabulary.
pub(crate) type Word = &'static str;

/// Words that were read once are known for as long as the process lives; there are few different ones.
pub(crate) mod word {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    use serde::{Deserialize, Deserializer};
    use serde_json::Value;

    use super::Word;

    static KNOWN: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());

    fn known(text: &str) -> Word {
        let mut words = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = words.get(text) {
            return word;
        }
        let word: Word = Box::leak(text.to_owned().into_boxed_str());
        words.insert(word);
        word
    }

    pub(crate) fn one<'de, D: Deserializer<'de>>(from: D) -> Result<Word, D::Error> {
        String::deserialize(from).map(|text| known(&text))
    }

    pub(crate) fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Word>, D::Error> {
        Option::<String>::deserialize(from).map(|text| text.map(|text| known(&text)))
    }

    pub(crate) fn values<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(Word, Value)>, D::Error> {
        Vec::<(String, Value)>::deserialize(from).map(|all| all.into_iter().map(|(name, value)| (known(&name), value)).collect())
    }
}

/// Maps whose keys are no text: a list of pairs.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::<(K, V)>::deserialize(from).map(|all| all.into_iter().collect())
    }
}
