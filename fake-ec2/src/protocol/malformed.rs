//! What is wrong with a request, and how each service says so.

use super::AwsError;
use crate::model::{Protocol, Service};

/// Why a request is no call. `path` is the parameter as the client called it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("no service is named")]
    NoService,
    #[error("the service {0} is not served")]
    NotServed(String),
    #[error("no action is named")]
    NoAction,
    #[error("there is no operation {0}")]
    NoSuchOperation(String),
    #[error("{0} is not done here")]
    NotDone(String),
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path} is {value:?}, which is no {wanted}")]
    Value { path: String, value: String, wanted: &'static str },
    #[error("the body is not what its type says: {0}")]
    Body(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not come to its end")]
    Cut,
    #[error("values nest deeper than {0}")]
    TooDeep(usize),
    #[error("there are more than {0} parameters")]
    TooMany(usize),
}

impl Malformed {
    /// The error in the service's own words. Sources: EC2 API reference, "Error codes"; the "Common errors" page of each other service;
    /// wording as botocore's users quote it.
    pub fn error(&self, service: Service, protocol: Protocol) -> AwsError {
        match self {
            Self::NoService => AwsError::new("MissingAuthenticationToken", "Missing Authentication Token"),
            Self::NotServed(name) => {
                let served = Service::ALL.map(Service::signing_name).join(", ");
                AwsError::new("UnsupportedOperation", format!("The service {name} is not served by this cloud. Served are: {served}."))
            }
            Self::NoAction => AwsError::new("MissingAction", "The request is missing an action or a required parameter."),
            Self::NoSuchOperation(name) => no_such_operation(name, service, protocol),
            Self::NotDone(name) => AwsError::new("UnsupportedOperation", format!("The operation {name} is not done by this cloud.")),
            Self::Missing { path } => missing(path, service, protocol),
            Self::Value { path, value, wanted } => bad_value(path, value, wanted, protocol),
            Self::Body(why) => bad_body(why, protocol),
            Self::TooLarge(limit) => {
                AwsError::new("RequestEntityTooLarge", format!("Request is larger than {limit} bytes.")).with_status(413)
            }
            // The codes of S3 and of API Gateway for it; of these services no document names one.
            Self::Cut => AwsError::new("RequestTimeout", "The request body did not arrive in time, or not whole.").with_status(408),
            Self::TooDeep(limit) => bad_body(&format!("values nest deeper than {limit}"), protocol),
            Self::TooMany(limit) => bad_body(&format!("more than {limit} parameters"), protocol),
        }
    }
}

fn no_such_operation(name: &str, service: Service, protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Ec2 => AwsError::new("InvalidAction", format!("The action {name} is not valid for this web service.")),
        Protocol::Query => {
            let version = service.model().api_version;
            AwsError::new("InvalidAction", format!("Could not find operation {name} for version {version}"))
        }
        Protocol::Json => AwsError::new("UnknownOperationException", format!("The operation {name} is not known.")),
        Protocol::RestJson => AwsError::new("UnknownOperationException", format!("There is nothing at {name}.")).with_status(404),
    }
}

fn missing(path: &str, service: Service, protocol: Protocol) -> AwsError {
    let parameter = format!("The request must contain the parameter {path}");
    let constraint = || {
        let place = lower_camel(path);
        format!("1 validation error detected: Value null at '{place}' failed to satisfy constraint: Member must not be null")
    };
    match (service, protocol) {
        (_, Protocol::Ec2) => AwsError::new("MissingParameter", parameter),
        (Service::Sqs, _) => AwsError::new("MissingParameter", parameter + "."),
        (_, Protocol::Query) => AwsError::new("ValidationError", constraint()),
        (Service::Eks | Service::Pricing, _) => AwsError::new("InvalidParameterException", constraint()),
        (_, Protocol::Json | Protocol::RestJson) => AwsError::new("ValidationException", constraint()),
    }
}

fn bad_value(path: &str, value: &str, wanted: &str, protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Ec2 => {
            let message = format!("Value ({value}) for parameter {path} is invalid. The value must be of type {wanted}.");
            AwsError::new("InvalidParameterValue", message)
        }
        Protocol::Query => AwsError::new("MalformedInput", format!("The value '{value}' of {path} is no {wanted}.")),
        Protocol::Json | Protocol::RestJson => {
            AwsError::new("SerializationException", format!("{value} at {path} can not be converted to {wanted}"))
        }
    }
}

fn bad_body(why: &str, protocol: Protocol) -> AwsError {
    match protocol {
        Protocol::Ec2 => AwsError::new("InvalidRequest", format!("The request could not be read: {why}.")),
        Protocol::Query => AwsError::new("MalformedInput", format!("The request could not be read: {why}.")),
        Protocol::Json | Protocol::RestJson => AwsError::new("SerializationException", why),
    }
}

/// `Tags.member.1.Key` to `tags.member.1.key`, as the constraint messages write it.
fn lower_camel(path: &str) -> String {
    let lower = |part: &str| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    path.split('.').map(lower).collect::<Vec<_>>().join(".")
}
