//! Reads errors on each protocol into one shape, the wire's own code kept.

use super::service::Protocol;
use super::xml::Element;
use crate::port::CloudError;
use serde_json::Value;

/// What of an HTTP reply says what went wrong.
pub struct Failure<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// `x-amzn-requestid`.
    pub request_id: Option<&'a str>,
    /// `x-amzn-errortype`.
    pub error_type: Option<&'a str>,
    /// `x-amzn-query-error`: SQS's older code for it, `AWS.SimpleQueueService.NonExistentQueue;Sender`.
    pub query_error: Option<&'a str>,
}

impl Failure<'_> {
    /// `operation` is `ec2:CreateFleet`. A body that is no error document gives the code `Unknown`.
    pub fn read(&self, protocol: Protocol, operation: &str) -> CloudError {
        let (code, message, request_id) = match protocol {
            Protocol::Ec2Query { .. } | Protocol::AwsQuery { .. } => self.xml(),
            Protocol::Json { .. } | Protocol::RestJson => self.json(),
        };
        CloudError {
            operation: operation.to_owned(),
            code: code.unwrap_or_else(|| "Unknown".to_owned()),
            message: message.unwrap_or_else(|| format!("HTTP status {} without a message", self.status)),
            status: self.status,
            request_id: self.request_id.map(str::to_owned).or(request_id),
        }
    }

    fn xml(&self) -> (Option<String>, Option<String>, Option<String>) {
        let Ok(root) = Element::parse(self.body) else { return (None, None, None) };
        // EC2: Response/Errors/Error and RequestID; awsQuery: ErrorResponse/Error and RequestId.
        let error = root.at(&["Errors", "Error"]).or_else(|| root.child("Error"));
        let id = root.string("RequestID").or_else(|| root.string("RequestId"));
        (error.and_then(|e| e.string("Code")), error.and_then(|e| e.string("Message")), id)
    }

    fn json(&self) -> (Option<String>, Option<String>, Option<String>) {
        let body: Value = serde_json::from_slice(self.body).unwrap_or_default();
        let text = |names: &[&str]| names.iter().find_map(|name| body.get(name)?.as_str());
        let code = self.query_error.and_then(|e| e.split(';').next()).or(self.error_type).or_else(|| text(&["__type", "code"]));
        (code.map(bare), text(&["message", "Message", "errorMessage"]).map(str::to_owned), None)
    }
}

/// `com.amazonaws.ssm#ParameterNotFound:http://…` is `ParameterNotFound`. SQS's query code is mapped to the model's name, which is the
/// one that the SDKs report.
fn bare(code: &str) -> String {
    let code = code.split(':').next().unwrap_or(code);
    match code.rsplit('#').next().unwrap_or(code) {
        "AWS.SimpleQueueService.NonExistentQueue" => "QueueDoesNotExist".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Service;
    use rstest::rstest;

    #[rstest]
    #[case(
        Service::Ec2,
        "<Response><Errors><Error><Code>DryRunOperation</Code><Message>Would.</Message></Error></Errors><RequestID>r-1</RequestID></Response>",
        "DryRunOperation",
        "Would."
    )]
    #[case(
        Service::Iam,
        "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no role</Message></Error><RequestId>r-1</RequestId></ErrorResponse>",
        "NoSuchEntity",
        "no role"
    )]
    #[case(Service::Ssm, r#"{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"none"}"#, "ParameterNotFound", "none")]
    #[case(Service::Ec2, "<html>", "Unknown", "HTTP status 400 without a message")]
    #[case(Service::Eks, "{", "Unknown", "HTTP status 400 without a message")]
    fn keeps_code_and_message(#[case] service: Service, #[case] body: &str, #[case] code: &str, #[case] message: &str) {
        let failure = Failure { status: 400, body: body.as_bytes(), request_id: None, error_type: None, query_error: None };
        let error = failure.read(service.protocol(), "x:Y");
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
    }

    #[test]
    fn headers_carry_codes_too() {
        let failure = Failure {
            status: 400,
            body: b"{}",
            request_id: Some("id"),
            error_type: Some("ResourceNotFoundException:http://x/"),
            query_error: None,
        };
        assert_eq!(failure.read(Protocol::RestJson, "eks:DescribeCluster").code, "ResourceNotFoundException");
        let failure = Failure { query_error: Some("AWS.SimpleQueueService.NonExistentQueue;Sender"), ..failure };
        assert_eq!(failure.read(Service::Sqs.protocol(), "sqs:GetQueueUrl").code, "QueueDoesNotExist");
    }
}
