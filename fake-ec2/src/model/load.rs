//! From a committed file to a [`Model`]. The files are ours, so that a mistake in one is a broken invariant.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;

use super::{ErrorTraits, Kind, Location, Member, Model, Operation, Paginator, Protocol, Route, Segment, Service, Shape, ShapeId};

type Text = &'static str;

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct RawModel {
    metadata: RawMetadata,
    operations: BTreeMap<Text, RawOperation>,
    shapes: BTreeMap<Text, RawShape>,
    others: BTreeMap<Text, Text>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    api_version: Text,
    service_id: Text,
    protocol: Text,
    #[serde(default)]
    xml_namespace: Option<Text>,
    #[serde(default)]
    query_namespace: Option<Text>,
    #[serde(default)]
    target_prefix: Option<Text>,
    #[serde(default)]
    json_version: Option<Text>,
    query_compatible: bool,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
#[serde(rename_all = "camelCase")]
struct RawOperation {
    method: Text,
    request_uri: Text,
    #[serde(default)]
    response_code: Option<u16>,
    #[serde(default)]
    input: Option<Text>,
    #[serde(default)]
    output: Option<Text>,
    #[serde(default)]
    result_wrapper: Option<Text>,
    errors: Vec<Text>,
    #[serde(default)]
    paginator: Option<RawPaginator>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct RawPaginator {
    input_token: OneOrMore,
    output_token: OneOrMore,
    #[serde(default)]
    limit_key: Option<Text>,
    #[serde(default)]
    result_key: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
#[serde(untagged)]
enum OneOrMore {
    One(Text),
    More(Vec<Text>),
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct RawShape {
    #[serde(rename = "type")]
    kind: Text,
    #[serde(default)]
    required: Vec<Text>,
    #[serde(default)]
    flattened: bool,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    exception: bool,
    #[serde(default)]
    error: RawError,
    #[serde(default, rename = "enum")]
    values: Vec<Text>,
    #[serde(default)]
    members: IndexMap<Text, RawMember>,
    #[serde(default)]
    member: Option<RawMember>,
    #[serde(default)]
    key: Option<RawMember>,
    #[serde(default)]
    value: Option<RawMember>,
}

#[derive(Default, Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
#[serde(rename_all = "camelCase")]
struct RawError {
    #[serde(default)]
    code: Option<Text>,
    #[serde(default)]
    http_status_code: Option<u16>,
    #[serde(default)]
    sender_fault: Option<bool>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
#[serde(rename_all = "camelCase")]
struct RawMember {
    shape: Text,
    #[serde(default)]
    location_name: Option<Text>,
    #[serde(default)]
    query_name: Option<Text>,
    #[serde(default)]
    location: Option<Text>,
    #[serde(default)]
    flattened: bool,
    #[serde(default)]
    idempotency_token: bool,
}

pub(super) fn model(service: Service, text: Text) -> Model {
    let raw: RawModel = serde_json::from_str(text).expect("a committed model has the generator's form");
    let names: Vec<Text> = raw.shapes.keys().copied().collect();
    let shapes: Vec<Shape> = raw.shapes.into_iter().map(|(name, shape)| Names(&names).shape(name, shape)).collect();
    let shapes = with_form_names(shapes, raw.metadata.protocol == "ec2");
    let operations = raw.operations.into_iter().map(|(name, op)| (name, Names(&names).operation(name, op))).collect();
    let others = raw.others.into_iter().map(|(name, http)| {
        let (method, uri) = http.split_once(' ').expect("the generator writes METHOD URI");
        (name, route(method, uri))
    });
    Model {
        service,
        protocol: protocol(raw.metadata.protocol),
        api_version: raw.metadata.api_version,
        service_id: raw.metadata.service_id,
        namespace: raw.metadata.xml_namespace.or(raw.metadata.query_namespace),
        target_prefix: raw.metadata.target_prefix,
        json_version: raw.metadata.json_version.unwrap_or("1.1"),
        query_compatible: raw.metadata.query_compatible,
        operations,
        others: others.collect(),
        shapes,
    }
}

/// Gives members their names in forms, which may be those of the shapes that they refer to.
fn with_form_names(mut shapes: Vec<Shape>, ec2: bool) -> Vec<Shape> {
    for at in 0..shapes.len() {
        let Kind::Structure(members) = &shapes[at].kind else { continue };
        let names: Vec<_> = members.iter().map(|member| member.name_in_forms(ec2, &shapes[member.shape.0].kind)).collect();
        let Kind::Structure(members) = &mut shapes[at].kind else { continue };
        for (member, name) in members.iter_mut().zip(names) {
            member.form_name = name;
        }
    }
    shapes
}

/// The names of all shapes, in order: a shape's id is its place.
struct Names<'a>(&'a [Text]);

impl Names<'_> {
    fn id(&self, name: Text) -> ShapeId {
        ShapeId(self.0.binary_search(&name).expect("the generator keeps what is referred to"))
    }

    fn shape(&self, name: Text, raw: RawShape) -> Shape {
        let part = |part: Option<RawMember>| self.member("", part.expect("lists and maps have their parts"), false);
        let kind = match raw.kind {
            "structure" => {
                let member = |(name, member)| self.member(name, member, raw.required.contains(&name));
                Kind::Structure(raw.members.into_iter().map(member).collect())
            }
            "list" => Kind::List { member: part(raw.member), flattened: raw.flattened },
            "map" => Kind::Map { key: part(raw.key), value: part(raw.value), flattened: raw.flattened },
            "string" => Kind::Text,
            "integer" => Kind::Integer,
            "long" => Kind::Long,
            "float" | "double" => Kind::Number,
            "boolean" => Kind::Boolean,
            "timestamp" => Kind::Timestamp,
            "blob" => Kind::Blob,
            other => panic!("{name}: no codec for the type {other}"),
        };
        let error = ErrorTraits { code: raw.error.code, status: raw.error.http_status_code, sender_fault: raw.error.sender_fault };
        Shape { name, kind, values: raw.values, min: raw.min, max: raw.max, exception: raw.exception, error }
    }

    fn member(&self, name: Text, raw: RawMember, required: bool) -> Member {
        let location = match raw.location {
            None => Location::Body,
            Some("uri") => Location::Path,
            Some("querystring") => Location::QueryString,
            Some(other) => panic!("{name}: no codec for the location {other}"),
        };
        Member {
            name,
            shape: self.id(raw.shape),
            location_name: raw.location_name,
            query_name: raw.query_name,
            location,
            flattened: raw.flattened,
            required,
            idempotency_token: raw.idempotency_token,
            form_name: name.into(),
        }
    }

    fn operation(&self, name: Text, raw: RawOperation) -> Operation {
        Operation {
            name,
            route: route(raw.method, raw.request_uri),
            input: raw.input.map(|shape| self.id(shape)),
            output: raw.output.map(|shape| self.id(shape)),
            result_wrapper: raw.result_wrapper,
            status: raw.response_code.unwrap_or(200),
            errors: raw.errors,
            paginator: raw.paginator.map(paginator),
        }
    }
}

fn paginator(raw: RawPaginator) -> Paginator {
    let names = |names| match names {
        OneOrMore::One(name) => vec![name],
        OneOrMore::More(names) => names,
    };
    Paginator {
        input_tokens: names(raw.input_token),
        output_tokens: names(raw.output_token),
        limit: raw.limit_key,
        results: raw.result_key.map(names).unwrap_or_default(),
    }
}

fn route(method: Text, uri: Text) -> Route {
    let segment = |text: Text| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(label) => Segment::Label(label),
        None => Segment::Literal(text),
    };
    let path = uri.split('?').next().unwrap_or_default();
    Route { method, path: path.split('/').filter(|part| !part.is_empty()).map(segment).collect() }
}

fn protocol(name: Text) -> Protocol {
    match name {
        "ec2" => Protocol::Ec2,
        "query" => Protocol::Query,
        "json" => Protocol::Json,
        "rest-json" => Protocol::RestJson,
        other => panic!("no codec for the protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Service;

    #[test]
    fn every_committed_model_loads_and_serves_something() {
        for service in Service::ALL {
            let model = service.model();
            assert!(!model.operations.is_empty(), "{service:?}");
            assert!(model.others.keys().all(|name| !model.operations.contains_key(name)), "{service:?}");
        }
    }

    #[test]
    fn an_error_is_found_by_its_code_and_by_its_shape() {
        let sqs = Service::Sqs.model();
        let by_code = sqs.error_shape("AWS.SimpleQueueService.NonExistentQueue").map(|shape| shape.name);
        assert_eq!(by_code, Some("QueueDoesNotExist"));
        assert_eq!(sqs.error_shape("QueueDoesNotExist").map(|shape| shape.name), by_code);
        assert_eq!(Service::Iam.model().error_shape("NoSuchEntity").map(|shape| shape.name), Some("NoSuchEntityException"));
    }
}
