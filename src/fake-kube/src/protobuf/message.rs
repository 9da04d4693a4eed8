//! A message as a JSON object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::table::{self, Field, Kind, Shape};
use super::wire::{BYTES, Error, FIXED64, Reader, Tag, VARINT};
use crate::quantity::Quantity;

/// Deeper than any served kind but a schema in a schema.
const DEPTH: u32 = 64;
/// More values than any real object has: 3 MiB of bytes could say a hundred times that in memory.
const MOST: u32 = 400_000;

/// Reads `data` as the message `name`, into the fields that are there.
pub(super) fn read(name: &str, data: &[u8], into: &mut Map<String, Value>) -> Result<(), Error> {
    Budget { left: MOST }.message(name, data, into, DEPTH)
}

struct Budget {
    left: u32,
}

impl Budget {
    fn spend(&mut self) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::TooMany)?;
        Ok(())
    }

    fn message(&mut self, name: &str, data: &[u8], into: &mut Map<String, Value>, depth: u32) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or(Error::TooDeep)?;
        let Some(message) = table::message(name) else { return Ok(()) };
        let mut reader = Reader::new(data);
        while let Some(tag) = reader.tag(name)? {
            self.spend()?;
            match message.get(&tag.number) {
                Some(field) => self.field(field, tag, &mut reader, into, depth)?,
                None => reader.skip(tag.wire)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, tag: Tag, reader: &mut Reader, into: &mut Map<String, Value>, depth: u32) -> Result<(), Error> {
        match (field.shape, &field.kind) {
            (Shape::Map, _) => {
                let (key, value) = self.entry(field, tag, reader, depth)?;
                if let Value::Object(map) = into.entry(field.json.clone()).or_insert_with(|| json!({})) {
                    map.insert(key, value);
                }
            }
            // Numbers may come in a row.
            (Shape::List, Kind::Int32 | Kind::Int64 | Kind::Bool) if tag.wire == BYTES => {
                let mut packed = Reader::new(reader.bytes()?);
                while !packed.rest.is_empty() {
                    self.spend()?;
                    let value = scalar(field, Tag { wire: VARINT, ..tag }, &mut packed)?;
                    push(into, &field.json, value);
                }
            }
            (Shape::List, Kind::Message(name)) => {
                let value = self.inner(name, length(field, tag, reader)?, None, depth)?;
                push(into, &field.json, value);
            }
            (Shape::List, _) => push(into, &field.json, scalar(field, tag, reader)?),
            (Shape::One, Kind::Message(name)) if field.inline => self.message(name, length(field, tag, reader)?, into, depth)?,
            (Shape::One, Kind::Message(name)) => {
                let data = length(field, tag, reader)?;
                // Said twice, the second is merged into the first.
                let value = self.inner(name, data, into.get_mut(&field.json).map(Value::take), depth)?;
                into.insert(field.json.clone(), value);
            }
            (Shape::One, _) => {
                let value = scalar(field, tag, reader)?;
                if field.omit_zero && (value == "" || value == 0 || value == false) {
                    into.shift_remove(&field.json);
                } else {
                    into.insert(field.json.clone(), value);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, field: &Field, tag: Tag, reader: &mut Reader, depth: u32) -> Result<(String, Value), Error> {
        let mut entry = Reader::new(length(field, tag, reader)?);
        let mut key = String::new();
        let mut value = Value::Null;
        while let Some(part) = entry.tag(&field.go)? {
            match part.number {
                1 => key = String::from_utf8_lossy(entry.bytes()?).into_owned(),
                2 => {
                    value = match &field.kind {
                        Kind::Message(name) => self.inner(name, entry.bytes()?, None, depth)?,
                        _ => scalar(field, part, &mut entry)?,
                    }
                }
                _ => entry.skip(part.wire)?,
            }
        }
        if value.is_null() {
            value = if matches!(field.kind, Kind::Message(_)) { json!({}) } else { Value::from("") };
        }
        Ok((key, value))
    }

    /// A message as a value: an object, unless Go writes it as something else.
    fn inner(&mut self, name: &str, data: &[u8], before: Option<Value>, depth: u32) -> Result<Value, Error> {
        let mut fields = match before {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        self.message(name, data, &mut fields, depth)?;
        special(name, fields)
    }
}

fn push(into: &mut Map<String, Value>, key: &str, value: Value) {
    if let Value::Array(list) = into.entry(key.to_owned()).or_insert_with(|| json!([])) {
        list.push(value);
    }
}

/// The bytes of what must be counted.
fn length<'a>(field: &Field, tag: Tag, reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    if tag.wire != BYTES {
        return Err(Error::WrongWireType(tag.wire, field.go.clone()));
    }
    reader.bytes()
}

fn scalar(field: &Field, tag: Tag, reader: &mut Reader) -> Result<Value, Error> {
    let wanted = match field.kind {
        Kind::Text | Kind::Bytes | Kind::Message(_) => BYTES,
        Kind::Double => FIXED64,
        Kind::Int32 | Kind::Int64 | Kind::Bool => VARINT,
    };
    if tag.wire != wanted {
        return Err(Error::WrongWireType(tag.wire, field.go.clone()));
    }
    Ok(match field.kind {
        Kind::Text | Kind::Message(_) => Value::from(String::from_utf8_lossy(reader.bytes()?).into_owned()),
        Kind::Bytes => Value::from(STANDARD.encode(reader.bytes()?)),
        Kind::Int32 => Value::from(reader.varint()? as u32 as i32),
        Kind::Int64 => Value::from(reader.varint()? as i64),
        Kind::Bool => Value::from(reader.varint()? != 0),
        Kind::Double => Value::from(f64::from_bits(reader.fixed64()?)),
    })
}

/// Types whose JSON is not that of their message.
fn special(name: &str, mut fields: Map<String, Value>) -> Result<Value, Error> {
    let text = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_i64).unwrap_or(0);
    let take = |fields: &mut Map<String, Value>, key: &str| fields.shift_remove(key).unwrap_or(Value::Null);
    Ok(match name {
        "api.resource.Quantity" => {
            let text = text(&fields, "string");
            let quantity = Quantity::parse(&text).map_err(|error| Error::Value(error.to_string()))?;
            Value::from(quantity.to_string())
        }
        "util.intstr.IntOrString" => match number(&fields, "type") {
            1 => Value::from(text(&fields, "strVal")),
            _ => Value::from(number(&fields, "intVal")),
        },
        // Nothing is Go's zero time, JSON's null.
        "meta.v1.Time" | "meta.v1.MicroTime" if fields.is_empty() => Value::Null,
        "meta.v1.Time" | "meta.v1.MicroTime" => {
            let micro = name == "meta.v1.MicroTime";
            let nanos = if micro { i32::try_from(number(&fields, "nanos")).unwrap_or(0) } else { 0 };
            let at = Timestamp::new(number(&fields, "seconds"), nanos).map_err(|error| Error::Value(error.to_string()))?;
            Value::from(if micro { format!("{at:.6}") } else { format!("{at:.0}") })
        }
        "meta.v1.Verbs" | "authentication.v1.ExtraValue" | "authorization.v1.ExtraValue" => match take(&mut fields, "items") {
            Value::Null => json!([]),
            items => items,
        },
        "apiextensions.v1.JSON" | "meta.v1.FieldsV1" | "runtime.RawExtension" => raw(&text(&fields, "-")),
        "apiextensions.v1.JSONSchemaPropsOrArray" => match take(&mut fields, "jSONSchemas") {
            Value::Null => take(&mut fields, "schema"),
            list => list,
        },
        "apiextensions.v1.JSONSchemaPropsOrBool" => match take(&mut fields, "schema") {
            Value::Null => Value::from(fields.get("allows").and_then(Value::as_bool).unwrap_or(false)),
            schema => schema,
        },
        "apiextensions.v1.JSONSchemaPropsOrStringArray" => match take(&mut fields, "property") {
            Value::Null => take(&mut fields, "schema"),
            list => list,
        },
        _ => Value::Object(fields),
    })
}

/// Bytes that are JSON themselves.
fn raw(encoded: &str) -> Value {
    STANDARD.decode(encoded).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Value::Null)
}
