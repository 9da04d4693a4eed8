//! Which service a request is for. The credential scope says it best, since one port serves all; unsigned requests tell by their host,
//! target, version or path.

use super::Form;
use super::rest;
use crate::auth::Signed;
use crate::model::{Protocol, Service};

/// A service in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub service: Service,
    /// `None` when the request names no region.
    pub region: Option<String>,
}

/// Finds the service. `form` is the query string and, for forms, the body.
pub fn target<B>(request: &http::Request<B>, signed: Option<&Signed>, form: &Form) -> Option<Target> {
    if let Some(signed) = signed
        && let Some(service) = Service::from_signing_name(&signed.service)
    {
        // Clients of the partition's global endpoint sign for no region that exists. Source: AWS SDK for Java, `Region.AWS_GLOBAL`;
        // IAM user guide: the global endpoints of IAM and STS are in us-east-1.
        let region = match signed.region.as_str() {
            "" => None,
            "aws-global" => Some("us-east-1".to_owned()),
            "aws-cn-global" => Some("cn-north-1".to_owned()),
            "aws-us-gov-global" => Some("us-gov-west-1".to_owned()),
            named => Some(named.to_owned()),
        };
        return Some(Target { service, region });
    }
    let host = host(request).and_then(|host| by_host(&host));
    host.or_else(|| {
        let service = by_target(request).or_else(|| by_version(form)).or_else(|| by_path(request))?;
        Some(Target { service, region: None })
    })
}

/// The name of a service of AWS's that is not here, as the request tells it.
pub fn stranger<B>(request: &http::Request<B>, signed: Option<&Signed>) -> Option<String> {
    if let Some(signed) = signed.filter(|signed| !signed.service.is_empty()) {
        return Service::from_signing_name(&signed.service).is_none().then(|| signed.service.clone());
    }
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()?.split_once('.'));
    let target = target.map(|(prefix, _)| prefix.to_owned()).filter(|_| by_target(request).is_none());
    target.or_else(|| {
        let host = host(request)?;
        let rest = SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix))?;
        let name = rest.split('.').find(|part| *part != "api")?;
        by_host(&host).is_none().then(|| name.to_owned())
    })
}

/// Where AWS's services are. Source: AWS General Reference, "AWS service endpoints".
const SUFFIXES: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// The host that the request was sent to, without a port.
fn host<B>(request: &http::Request<B>) -> Option<String> {
    let header = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = header.or_else(|| request.uri().host())?;
    Some(host.split(':').next().unwrap_or_default().to_ascii_lowercase())
}

/// `ec2.us-west-2.amazonaws.com`, `api.pricing.us-east-1.amazonaws.com`, `iam.amazonaws.com`, `ec2.us-west-2.api.aws`.
fn by_host(host: &str) -> Option<Target> {
    let rest = SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let mut parts = rest.split('.').filter(|part| *part != "api").peekable();
    let service = match parts.next()? {
        "queue" => Service::Sqs,
        name => Service::from_signing_name(name)?,
    };
    Some(Target { service, region: parts.next().map(str::to_owned) })
}

fn by_target<B>(request: &http::Request<B>) -> Option<Service> {
    let (prefix, _) = request.headers().get("x-amz-target")?.to_str().ok()?.split_once('.')?;
    Service::ALL.into_iter().find(|service| service.model().target_prefix == Some(prefix))
}

fn by_version(form: &Form) -> Option<Service> {
    let (version, action) = (form.get("Version")?, form.get("Action")?);
    let speaks_forms = |service: &Service| service.model().namespace.is_some();
    let mut of_version = Service::ALL.into_iter().filter(speaks_forms).filter(|service| service.model().api_version == version);
    of_version.next().or_else(|| {
        // An older version of a service: the action tells.
        let knows = |service: &Service| service.model().operations.contains_key(action);
        Service::ALL.into_iter().filter(speaks_forms).find(knows)
    })
}

fn by_path<B>(request: &http::Request<B>) -> Option<Service> {
    let rest = Service::ALL.into_iter().filter(|service| service.model().protocol == Protocol::RestJson);
    rest.into_iter().find(|service| rest::find(service.model(), request).is_some())
}
