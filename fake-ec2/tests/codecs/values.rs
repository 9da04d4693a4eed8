//! Values that fit a shape, drawn from a seed: the input of the round trips.

use fake_ec2::model::{Kind, Model, ShapeId};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value};

pub struct Values<'a> {
    model: &'a Model,
    chance: ChaCha8Rng,
}

impl<'a> Values<'a> {
    pub fn new(model: &'a Model, seed: u64) -> Self {
        Self { model, chance: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.next_u64() % bound
    }

    /// A value without empty structures and lists, for which forms have no word.
    pub fn of(&mut self, shape: ShapeId, depth: usize) -> Value {
        let model = self.model;
        match &model.shape(shape).kind {
            Kind::Structure(members) => {
                let mut object = Map::new();
                for member in members {
                    if member.required || (depth < 5 && self.below(10) < 6) {
                        object.insert(member.name.into(), self.of(member.shape, depth + 1));
                    }
                }
                if let Some(member) = members.iter().min_by_key(|member| rank(model, member.shape)).filter(|_| object.is_empty()) {
                    object.insert(member.name.into(), self.of(member.shape, depth + 1));
                }
                Value::Object(object)
            }
            Kind::List { member, .. } => (0..=self.below(2)).map(|_| self.of(member.shape, depth + 1)).collect(),
            Kind::Map { value, .. } => {
                let entries = (0..=self.below(2)).map(|at| (format!("key {at}"), self.of(value.shape, depth + 1)));
                Value::Object(entries.collect())
            }
            Kind::Text => Value::from(self.text()),
            Kind::Blob => Value::from("AQIDBA=="),
            Kind::Integer => Value::from(i64::from(self.chance.next_u32().cast_signed())),
            Kind::Long => Value::from(self.chance.next_u64().cast_signed()),
            Kind::Number => Value::from(f64::from(self.chance.next_u32()) / 8.0),
            Kind::Boolean => Value::Bool(self.below(2) == 0),
            Kind::Timestamp => {
                let millis = i64::try_from(self.below(4_000_000_000_000)).unwrap_or_default();
                let instant = jiff::Timestamp::from_millisecond(millis).expect("within jiff's range");
                Value::from(fake_ec2::protocol::timestamp(instant))
            }
        }
    }

    fn text(&mut self) -> String {
        const LETTERS: [char; 16] = ['a', 'Z', '0', '&', '<', '>', '"', '+', '%', '=', '.', ' ', '\r', '\n', 'é', '😀'];
        (0..=self.below(8)).map(|_| LETTERS[self.below(16) as usize]).collect()
    }
}

fn rank(model: &Model, shape: ShapeId) -> bool {
    matches!(model.shape(shape).kind, Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. })
}
