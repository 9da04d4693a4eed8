//! The services' models: operations, shapes and their names on the wire, as AWS describes them; read when first asked for.
//!
//! The files in `data/models` are written by `ci/generate/aws_models.py` from botocore's models.

mod load;
mod shape;

pub use shape::{ErrorTraits, Finder, Kind, Location, Member, Shape, ShapeId};

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A service, by the name under which its requests are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Ec2,
    Iam,
    Sts,
    Sqs,
    Ssm,
    Eks,
    EksAuth,
    Pricing,
    Events,
    AutoScaling,
    ArcZonalShift,
}

impl Service {
    pub const ALL: [Service; 11] = [
        Self::Ec2,
        Self::Iam,
        Self::Sts,
        Self::Sqs,
        Self::Ssm,
        Self::Eks,
        Self::EksAuth,
        Self::Pricing,
        Self::Events,
        Self::AutoScaling,
        Self::ArcZonalShift,
    ];

    /// The name in the credential scope (`…/us-west-2/ec2/aws4_request`).
    pub const fn signing_name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Sqs => "sqs",
            Self::Ssm => "ssm",
            Self::Eks => "eks",
            Self::EksAuth => "eks-auth",
            Self::Pricing => "pricing",
            Self::Events => "events",
            Self::AutoScaling => "autoscaling",
            Self::ArcZonalShift => "arc-zonal-shift",
        }
    }

    pub fn from_signing_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.signing_name() == name)
    }

    /// The service's model.
    pub fn model(self) -> &'static Model {
        macro_rules! models {
            ($($service:ident => $file:literal),* $(,)?) => {
                match self {
                    $(Self::$service => {
                        static MODEL: LazyLock<Model> = LazyLock::new(|| {
                            load::model(Service::$service, include_str!(concat!("../../data/models/", $file, ".json")))
                        });
                        &MODEL
                    })*
                }
            };
        }
        models! {
            Ec2 => "ec2",
            Iam => "iam",
            Sts => "sts",
            Sqs => "sqs",
            Ssm => "ssm",
            Eks => "eks",
            EksAuth => "eks-auth",
            Pricing => "pricing",
            Events => "events",
            AutoScaling => "autoscaling",
            ArcZonalShift => "arc-zonal-shift",
        }
    }
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Forms in, XML out; EC2's own dialect.
    Ec2,
    /// Forms in, XML out.
    Query,
    /// JSON both ways, the operation in `X-Amz-Target`.
    Json,
    /// JSON both ways, the operation in method and path.
    RestJson,
}

/// One service's model.
#[derive(Debug)]
pub struct Model {
    pub service: Service,
    pub protocol: Protocol,
    /// `2016-11-15`
    pub api_version: &'static str,
    /// `EC2`
    pub service_id: &'static str,
    /// The XML namespace of replies, for the form protocols.
    pub namespace: Option<&'static str>,
    /// `AmazonSQS` of `AmazonSQS.SendMessage`
    pub target_prefix: Option<&'static str>,
    /// `1.0` or `1.1`
    pub json_version: &'static str,
    /// Speaks JSON now and spoke the query protocol once; clients may ask for the old error codes.
    pub query_compatible: bool,
    /// What the cloud serves, by name.
    pub operations: BTreeMap<&'static str, Operation>,
    /// What the service has and the cloud does not serve: name to route.
    pub others: BTreeMap<&'static str, Route>,
    shapes: Vec<Shape>,
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    pub name: &'static str,
    pub route: Route,
    pub input: Option<ShapeId>,
    pub output: Option<ShapeId>,
    /// The element around a query reply's members (`GetRoleResult`).
    pub result_wrapper: Option<&'static str>,
    /// The HTTP status of success.
    pub status: u16,
    /// The names of the error shapes that the model declares.
    pub errors: Vec<&'static str>,
    pub paginator: Option<Paginator>,
}

/// How a list is paged: names of members, the result's as a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paginator {
    pub input_tokens: Vec<&'static str>,
    pub output_tokens: Vec<&'static str>,
    pub limit: Option<&'static str>,
    pub results: Vec<&'static str>,
}

/// Method and path of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub method: &'static str,
    pub path: Vec<Segment>,
}

/// A part of a path between slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Literal(&'static str),
    /// `{name}`: the wire name of the member that it fills.
    Label(&'static str),
}

impl Model {
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0]
    }

    /// A shape by its name.
    pub fn shape_named(&self, name: &str) -> Option<&Shape> {
        let at = self.shapes.binary_search_by(|shape| shape.name.cmp(name)).ok()?;
        self.shapes.get(at)
    }

    /// The error shape that a code stands for: codes are either the shape's own code or its name.
    pub fn error_shape(&self, code: &str) -> Option<&Shape> {
        let named = self.shape_named(code).filter(|shape| shape.exception);
        named.or_else(|| self.shapes.iter().find(|shape| shape.exception && shape.error.code == Some(code)))
    }
}
