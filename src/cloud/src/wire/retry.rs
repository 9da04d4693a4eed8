//! What is tried again, and when.

use crate::port::CloudError;
use ambient::Stream;
use jiff::SignedDuration;

/// Tries of one call, the first included. Source: aws-sdk-go-v2 `aws/retry/standard.go`.
pub const ATTEMPTS: u32 = 3;

/// The longest pause between two tries.
const LONGEST: SignedDuration = SignedDuration::from_secs(20);

/// Codes that the SDKs try again. Source: aws-sdk-go-v2 `aws/retry/standard.go`, DefaultRetryableErrorCodes and
/// DefaultThrottleErrorCodes.
const RETRYABLE: [&str; 17] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
    // No answer came: the connection broke or timed out.
    crate::port::TRANSPORT,
];

/// Whether the same call may be made again.
pub fn is_retryable(error: &CloudError) -> bool {
    RETRYABLE.contains(&error.code.as_str()) || matches!(error.status, 500 | 502 | 503 | 504)
}

/// The pause before try number `attempt` + 1: a uniform share of 2^(attempt−1) s, at most 20 s.
pub fn pause(attempt: u32, chance: &mut Stream) -> SignedDuration {
    let ceiling = SignedDuration::from_secs(1i64 << attempt.saturating_sub(1).min(5)).min(LONGEST);
    SignedDuration::from_nanos((ceiling.as_nanos() as f64 * chance.unit()) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("RequestLimitExceeded", 503, true)]
    #[case("Throttling", 400, true)]
    #[case("InternalError", 500, true)]
    #[case("Transport", 0, true)]
    #[case("UnauthorizedOperation", 403, false)]
    #[case("DryRunOperation", 412, false)]
    #[case("InvalidInstanceID.NotFound", 400, false)]
    fn knows_what_passes(#[case] code: &str, #[case] status: u16, #[case] again: bool) {
        let error = CloudError { operation: String::new(), code: code.into(), message: String::new(), status, request_id: None };
        assert_eq!(is_retryable(&error), again);
    }
}
