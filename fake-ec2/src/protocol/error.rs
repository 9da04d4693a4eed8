//! An error as a client sees it. Codes and messages are the API: clients match on the code, and some on the message.

/// A modelled or unmodelled service error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    pub code: String,
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// The code of the older query protocol, for SQS (`AWS.SimpleQueueService.NonExistentQueue`).
    pub query_code: Option<String>,
}

impl AwsError {
    /// The status comes from a table of codes; 400 where the table is silent.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let status = status_of(&code);
        Self { code, message: message.into(), status, query_code: None }
    }

    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn with_query_code(mut self, code: impl Into<String>) -> Self {
        self.query_code = Some(code.into());
        self
    }
}

/// HTTP status of a code whose status is not 400.
/// Source: the `httpStatusCode` of the services' models, and for EC2 (whose model declares no errors) the API reference, "Error codes".
fn status_of(code: &str) -> u16 {
    match code {
        "DryRunOperation" => 412,
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => 403,
        "SignatureDoesNotMatch" | "InvalidClientTokenId" | "MissingAuthenticationToken" => 403,
        "AuthFailure" => 401,
        "NoSuchEntity" | "ResourceNotFoundException" => 404,
        "EntityAlreadyExists" | "DeleteConflict" | "LimitExceeded" | "ResourceInUseException" => 409,
        "InternalError" | "InternalFailure" | "ServiceFailure" => 500,
        // "Server error codes" of the same page.
        "InsufficientInstanceCapacity" | "InsufficientCapacity" | "InsufficientAddressCapacity" => 500,
        "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" => 503,
        _ => 400,
    }
}
