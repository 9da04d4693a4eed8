//! A query string as the options that it means.

use percent_encoding::percent_decode_str;

use crate::api::{FieldValidation, Propagation, WriteOptions};
use crate::status::{FieldError, Status};

/// Decoded pairs, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Query(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(key, value)| (decode(key), decode(value))).collect())
    }

    /// The first value of that name; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && matches!(value.as_str(), "" | "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            let shown = crate::status::quoted(text);
            Status::bad_request(format!("strconv.ParseInt: parsing {shown}: invalid syntax"))
        })
    }

    /// `kind` is what the options are called in messages: `CreateOptions`, `PatchOptions`, …
    pub(crate) fn write_options(&self, kind: &str) -> Result<WriteOptions, Status> {
        let dry_run: Vec<&str> =
            self.0.iter().filter(|(key, _)| key == "dryRun").map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()).collect();
        if let Some(bad) = dry_run.iter().find(|value| **value != "All") {
            return Err(invalid(vec![FieldError::unsupported("dryRun", &serde_json::json!([bad]), &["All"])]));
        }
        let field_validation = match self.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let error = FieldError::unsupported("fieldValidation", &serde_json::json!(other), &["", "Ignore", "Strict", "Warn"]);
                return Err(invalid(vec![error]));
            }
        };
        const LONGEST: usize = 128;
        if self.get("fieldManager").len() > LONGEST {
            return Err(Status::invalid_options(kind, FieldError::too_long("fieldManager", LONGEST as u64)));
        }
        Ok(WriteOptions {
            dry_run: !dry_run.is_empty(),
            field_manager: self.get("fieldManager").to_owned(),
            field_validation,
            applied: false,
            user: None,
        })
    }
}

fn invalid(errors: Vec<FieldError>) -> Status {
    let listed: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Status::new(422, "Invalid", format!(".meta.k8s.io \"\" is invalid: {}", listed.join(", ")))
}

pub(crate) fn propagation(text: &str) -> Result<Option<Propagation>, Status> {
    match text {
        "" => Ok(None),
        "Orphan" => Ok(Some(Propagation::Orphan)),
        "Background" => Ok(Some(Propagation::Background)),
        "Foreground" => Ok(Some(Propagation::Foreground)),
        other => {
            let error =
                FieldError::unsupported("propagationPolicy", &serde_json::json!(other), &["Foreground", "Background", "Orphan", "nil"]);
            Err(Status::invalid_options("DeleteOptions", error))
        }
    }
}
