//! What a request says of its signature, in its `Authorization` header or, presigned, in its query string.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Refusal;
use crate::protocol::Form;

/// A signature and its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub access_key: String,
    /// `20261120`
    pub day: String,
    pub region: String,
    /// The signing name.
    pub service: String,
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// As sent: `20261120T170000Z`.
    pub date: String,
    /// The same, read.
    pub instant: Option<Timestamp>,
    pub token: Option<String>,
    /// For how long a presigned request is good; `None` for a header's signature.
    pub expires: Option<SignedDuration>,
}

/// Reads the signature; `None` for a request that has none.
pub fn read<B>(request: &http::Request<B>, query: &Form) -> Result<Option<Signed>, Refusal> {
    if let Some(header) = request.headers().get(http::header::AUTHORIZATION) {
        let header = header.to_str().map_err(|_| Refusal::Incomplete("a readable Authorization header".into()))?;
        return of_header(request, header).map(Some);
    }
    if query.get("X-Amz-Credential").is_some() { of_query(query).map(Some) } else { Ok(None) }
}

fn of_header<B>(request: &http::Request<B>, header: &str) -> Result<Signed, Refusal> {
    let parameters = match header.split_once(' ') {
        Some(("AWS4-HMAC-SHA256", parameters)) => parameters,
        _ => return Err(Refusal::Incomplete("the algorithm AWS4-HMAC-SHA256".into())),
    };
    let parameter = |name: &str| {
        let mut all = parameters.split(',').filter_map(|part| part.trim().split_once('='));
        let found = all.find(|(key, _)| *key == name).map(|(_, value)| value);
        found.ok_or_else(|| Refusal::Incomplete(format!("'{name}' in the Authorization header")))
    };
    let sent = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let date = sent("x-amz-date").unwrap_or_default();
    scope(parameter("Credential")?, parameter("SignedHeaders")?, parameter("Signature")?, date, sent("x-amz-security-token"), None)
}

fn of_query(query: &Form) -> Result<Signed, Refusal> {
    let parameter = |name: &str| query.get(name).ok_or_else(|| Refusal::Incomplete(format!("the parameter '{name}'")));
    let expires = parameter("X-Amz-Expires")?.parse().map_err(|_| Refusal::Incomplete("a number in 'X-Amz-Expires'".into()))?;
    // A week is the longest that SigV4 allows.
    let expires = SignedDuration::from_secs(i64::min(expires, 7 * 24 * 3600));
    let date = parameter("X-Amz-Date")?.to_owned();
    let token = query.get("X-Amz-Security-Token").map(str::to_owned);
    scope(parameter("X-Amz-Credential")?, parameter("X-Amz-SignedHeaders")?, parameter("X-Amz-Signature")?, date, token, Some(expires))
}

fn scope(
    credential: &str,
    headers: &str,
    signature: &str,
    date: String,
    token: Option<String>,
    expires: Option<SignedDuration>,
) -> Result<Signed, Refusal> {
    let mut parts = credential.rsplitn(5, '/');
    let mut part = || parts.next().filter(|part| !part.is_empty());
    let (Some("aws4_request"), Some(service), Some(region), Some(day), Some(access_key)) = (part(), part(), part(), part(), part()) else {
        return Err(Refusal::Incomplete("a Credential of KEY/DATE/REGION/SERVICE/aws4_request".into()));
    };
    let instant = DateTime::strptime("%Y%m%dT%H%M%SZ", &date).ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    Ok(Signed {
        access_key: access_key.to_owned(),
        day: day.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_headers: headers.split(';').map(str::to_ascii_lowercase).collect(),
        signature: signature.to_owned(),
        instant: instant.map(|date| date.timestamp()),
        date,
        token,
        expires,
    })
}
