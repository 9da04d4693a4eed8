//! Why a request is not let in, in each service's words.

use jiff::Timestamp;

use crate::model::{Protocol, Service};
use crate::protocol::AwsError;

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request is not signed")]
    Unsigned,
    #[error("the signature lacks {0}")]
    Incomplete(String),
    #[error("the access key or its session token is not known")]
    UnknownKey,
    #[error("the session token has expired")]
    TokenExpired,
    #[error("the signature does not match")]
    Mismatch,
    #[error("the signature of {signed} has expired at {now}")]
    Expired { signed: Timestamp, now: Timestamp },
    #[error("the signature of {signed} is not yet valid at {now}")]
    NotYet { signed: Timestamp, now: Timestamp },
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
                        and signing method. Consult the service documentation for details.";

impl Refusal {
    /// The error in the service's own words. Sources: EC2 API reference, "Error codes"; each other service's "Common errors".
    pub fn error(&self, service: Service, protocol: Protocol) -> AwsError {
        let json = matches!(protocol, Protocol::Json | Protocol::RestJson);
        if service == Service::Ec2 {
            return self.of_ec2();
        }
        let status = if json { 400 } else { 403 };
        let error =
            |form: &str, json_form: &str, message: String| AwsError::new(if json { json_form } else { form }, message).with_status(status);
        match self {
            Self::Unsigned => {
                error("MissingAuthenticationToken", "MissingAuthenticationTokenException", "Missing Authentication Token".into())
            }
            Self::Incomplete(what) => {
                error("IncompleteSignature", "IncompleteSignatureException", format!("The signature lacks {what}.")).with_status(400)
            }
            Self::UnknownKey => {
                let message = "The security token included in the request is invalid.";
                error("InvalidClientTokenId", "UnrecognizedClientException", message.into())
            }
            Self::TokenExpired => {
                error("ExpiredToken", "ExpiredTokenException", "The security token included in the request is expired".into())
            }
            Self::Mismatch => error("SignatureDoesNotMatch", "InvalidSignatureException", MISMATCH.into()),
            Self::Expired { signed, now } => {
                let message = format!("Signature expired: {} is now earlier than {}", basic(*signed), basic(*now));
                error("SignatureDoesNotMatch", "InvalidSignatureException", message)
            }
            Self::NotYet { signed, now } => {
                let message = format!("Signature not yet current: {} is still later than {}", basic(*signed), basic(*now));
                error("SignatureDoesNotMatch", "InvalidSignatureException", message)
            }
        }
    }

    fn of_ec2(&self) -> AwsError {
        match self {
            Self::Expired { .. } | Self::NotYet { .. } | Self::TokenExpired => AwsError::new("RequestExpired", "Request has expired."),
            Self::Incomplete(what) => AwsError::new("IncompleteSignature", format!("The signature lacks {what}.")),
            Self::Unsigned | Self::UnknownKey | Self::Mismatch => {
                AwsError::new("AuthFailure", "AWS was not able to validate the provided access credentials")
            }
        }
    }
}

/// `20261120T170000Z`
fn basic(instant: Timestamp) -> String {
    instant.strftime("%Y%m%dT%H%M%SZ").to_string()
}
