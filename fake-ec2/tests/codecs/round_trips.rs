//! What one side writes, a second and simpler implementation reads, for every operation: forms and XML by hand, JSON by the model.

use bytes::Bytes;
use fake_ec2::Limits;
use fake_ec2::model::{Kind, Location, Member, Model, Operation, Protocol, Service, ShapeId};
use fake_ec2::protocol::{self, Dialect, Form};
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use super::values::Values;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn forms(seed: u64) {
        for (service, operation) in operations(|protocol| matches!(protocol, Protocol::Ec2 | Protocol::Query)) {
            let (model, Some(input)) = (service.model(), operation.input) else { continue };
            let meant = Values::new(model, seed).of(input, 0);
            let mut form = Form::default();
            form.push("Action", operation.name);
            FormWriter { model, form: &mut form }.value(input, false, &meant, "");
            let request = http::Request::builder().method("POST").uri("/").body(Bytes::new()).expect("a valid request");
            let dialect = Dialect { protocol: model.protocol, query_mode: false };
            let parsed = protocol::parse(service, dialect, &request, &form, &Limits::default());
            let parsed = parsed.unwrap_or_else(|why| panic!("{}: {why}", operation.name));
            prop_assert_eq!(Value::Object(parsed.input), meant, "{}", operation.name);
            prop_assert_eq!(parsed.unknown, Vec::<String>::new());
        }
    }

    #[test]
    fn xml(seed: u64) {
        for (service, operation) in operations(|protocol| matches!(protocol, Protocol::Ec2 | Protocol::Query)) {
            let (model, Some(output)) = (service.model(), operation.output) else { continue };
            let meant = Values::new(model, seed).of(output, 0);
            let dialect = Dialect { protocol: model.protocol, query_mode: false };
            let response = protocol::success(service, dialect, operation, "r-1", &meant);
            let mut root = element(response.body());
            if model.protocol == Protocol::Query {
                root = root.children.into_iter().find(|child| child.name.ends_with("Result")).expect("a result");
            }
            let whole_seconds = model.protocol == Protocol::Query && service != Service::AutoScaling;
            let mut meant = meant;
            if whole_seconds {
                round(model, output, &mut meant);
            }
            prop_assert_eq!(value(model, output, &root), meant, "{}", operation.name);
        }
    }

    #[test]
    fn json(seed: u64) {
        for (service, operation) in operations(|protocol| protocol == Protocol::Json) {
            let (model, Some(input)) = (service.model(), operation.input) else { continue };
            let meant = Values::new(model, seed).of(input, 0);
            let target = format!("{}.{}", model.target_prefix.unwrap_or_default(), operation.name);
            let body = as_sent(model, input, &meant).to_string();
            let request = http::Request::builder().method("POST").uri("/").header("x-amz-target", target);
            let request = request.body(Bytes::from(body)).expect("a valid request");
            let dialect = Dialect { protocol: Protocol::Json, query_mode: false };
            let parsed = protocol::parse(service, dialect, &request, &Form::default(), &Limits::default());
            let parsed = parsed.unwrap_or_else(|why| panic!("{}: {why}", operation.name));
            prop_assert_eq!(Value::Object(parsed.input), meant, "{}", operation.name);
        }
    }
}

fn operations(spoken: fn(Protocol) -> bool) -> impl Iterator<Item = (Service, &'static Operation)> {
    let services = Service::ALL.into_iter().filter(move |service| spoken(service.model().protocol));
    services.flat_map(|service| service.model().operations.values().map(move |operation| (service, operation)))
}

struct FormWriter<'a> {
    model: &'static Model,
    form: &'a mut Form,
}

impl FormWriter<'_> {
    fn value(&mut self, shape: ShapeId, flattened: bool, value: &Value, path: &str) {
        let model = self.model;
        let ec2 = model.protocol == Protocol::Ec2;
        match (&model.shape(shape).kind, value) {
            (Kind::Structure(members), Value::Object(object)) => {
                for (name, value) in object {
                    let member = members.iter().find(|member| member.name == name).expect("drawn from the shape");
                    self.value(member.shape, member.flattened, value, &join(path, &self.name(member)));
                }
            }
            (Kind::List { member, flattened: flat }, Value::Array(list)) => {
                let flat = ec2 || flattened || *flat;
                let path = if flat { path.to_owned() } else { join(path, member.location_name.unwrap_or("member")) };
                for (at, item) in list.iter().enumerate() {
                    self.value(member.shape, false, item, &join(&path, &(at + 1).to_string()));
                }
            }
            (Kind::Map { key, value: part, flattened: flat }, Value::Object(object)) => {
                let path = if flattened || *flat { path.to_owned() } else { join(path, "entry") };
                for (at, (name, item)) in object.iter().enumerate() {
                    let path = join(&path, &(at + 1).to_string());
                    self.form.push(join(&path, key.location_name.unwrap_or("key")), name.clone());
                    self.value(part.shape, false, item, &join(&path, part.location_name.unwrap_or("value")));
                }
            }
            (_, Value::String(text)) => self.form.push(path, text.clone()),
            (_, scalar) => self.form.push(path, scalar.to_string()),
        }
    }

    fn name(&self, member: &Member) -> String {
        let capitalised = |name: &str| name[..1].to_uppercase() + &name[1..];
        match (self.model.protocol, member.query_name, member.location_name) {
            (Protocol::Ec2, Some(name), _) => name.to_owned(),
            (Protocol::Ec2, None, Some(name)) => capitalised(name),
            _ => member.location_name.unwrap_or(member.name).to_owned(),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// An element with its text or its children.
#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

fn element(bytes: &[u8]) -> Element {
    let text = std::str::from_utf8(bytes).expect("replies are UTF-8");
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().expect("replies are well-formed") {
            Event::Start(start) => {
                let name = start.name().as_ref().to_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::End(_) => {
                let done = open.pop().expect("an element is open");
                open.last_mut().expect("the root is below").children.push(done);
            }
            Event::Text(text) => open.last_mut().expect("the root is open").text += &text,
            Event::GeneralRef(reference) => {
                let letter = match reference.resolve_char_ref().expect("a valid reference") {
                    Some(letter) => letter.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&reference).expect("an entity of XML's own").to_owned(),
                };
                open.last_mut().expect("the root is open").text += &letter;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    open.remove(0).children.remove(0)
}

fn value(model: &Model, shape: ShapeId, element: &Element) -> Value {
    match &model.shape(shape).kind {
        Kind::Structure(members) => {
            let mut object = Map::new();
            for member in members {
                if let Some(value) = part(model, member, element) {
                    object.insert(member.name.into(), value);
                }
            }
            Value::Object(object)
        }
        Kind::List { member, .. } => element.children.iter().map(|item| value(model, member.shape, item)).collect(),
        Kind::Map { value: part, .. } => {
            let entry = |entry: &Element| (entry.children[0].text.clone(), value(model, part.shape, &entry.children[1]));
            Value::Object(element.children.iter().map(entry).collect())
        }
        Kind::Integer | Kind::Long | Kind::Number | Kind::Boolean => element.text.parse().expect("a number or a boolean is JSON too"),
        Kind::Timestamp => {
            let instant = element.text.parse().expect("an instant");
            Value::from(protocol::timestamp(instant))
        }
        Kind::Text | Kind::Blob => Value::from(element.text.clone()),
    }
}

fn part(model: &Model, member: &Member, element: &Element) -> Option<Value> {
    let named = |name: &str| element.children.iter().filter(|child| child.name == name).collect::<Vec<_>>();
    match &model.shape(member.shape).kind {
        Kind::List { member: item, flattened } if *flattened || member.flattened => {
            let items = named(item.location_name.unwrap_or(member.wire_name()));
            let items: Vec<Value> = items.into_iter().map(|child| value(model, item.shape, child)).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        _ => named(member.wire_name()).first().map(|child| value(model, member.shape, child)),
    }
}

/// Cuts instants down to seconds.
fn round(model: &Model, shape: ShapeId, value: &mut Value) {
    match (&model.shape(shape).kind, value) {
        (Kind::Structure(members), Value::Object(object)) => {
            for member in members {
                if let Some(value) = object.get_mut(member.name) {
                    round(model, member.shape, value);
                }
            }
        }
        (Kind::List { member, .. }, Value::Array(list)) => list.iter_mut().for_each(|item| round(model, member.shape, item)),
        (Kind::Timestamp, Value::String(text)) => text.replace_range(20..23, "000"),
        _ => {}
    }
}

/// An input as JSON's clients write it: instants are seconds.
fn as_sent(model: &Model, shape: ShapeId, value: &Value) -> Value {
    match (&model.shape(shape).kind, value) {
        (Kind::Structure(members), Value::Object(object)) => {
            let sent = |member: &Member| Some((member.name.to_owned(), as_sent(model, member.shape, object.get(member.name)?)));
            assert!(members.iter().all(|member| member.location == Location::Body));
            Value::Object(members.iter().filter_map(sent).collect())
        }
        (Kind::List { member, .. }, Value::Array(list)) => list.iter().map(|item| as_sent(model, member.shape, item)).collect(),
        (Kind::Map { value: part, .. }, Value::Object(object)) => {
            Value::Object(object.iter().map(|(key, item)| (key.clone(), as_sent(model, part.shape, item))).collect())
        }
        (Kind::Timestamp, Value::String(text)) => {
            let millis = text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond();
            #[allow(clippy::cast_precision_loss)]
            Value::from(millis as f64 / 1000.0)
        }
        (_, value) => value.clone(),
    }
}
