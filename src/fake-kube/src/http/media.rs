//! What the client accepts, and in which form: whole objects, tables, metadata alone.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::status::Status;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Form {
    #[default]
    Whole,
    Table,
    Partial,
    /// Aggregated discovery, `apidiscovery.k8s.io/v2`.
    Discovery,
}

/// The first form in `Accept` that is served. Protobuf is not; clients list JSON after it.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Status> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.is_empty() {
        return Ok(Form::Whole);
    }
    for entry in accept.iter().flat_map(|list| list.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        if !matches!(kind, "application/json" | "*/*" | "application/*" | "application/yaml" | "") {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let of = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        match (of("as"), of("g"), of("v")) {
            (None, _, _) => return Ok(Form::Whole),
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => return Ok(Form::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => return Ok(Form::Partial),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => return Ok(Form::Discovery),
            _ => {}
        }
    }
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    Err(Status { details: Some(Default::default()), ..Status::new(406, "NotAcceptable", message) })
}
