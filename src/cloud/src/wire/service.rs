//! What each service speaks, and where it lives.

/// The services of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Ec2,
    Iam,
    Sqs,
    Ssm,
    Eks,
    Pricing,
    ArcZonalShift,
}

/// How requests and replies are written. Source: `metadata.protocols` of the service models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Ec2Query { version: &'static str },
    AwsQuery { version: &'static str },
    Json { content_type: &'static str, target: &'static str },
    RestJson,
}

impl Service {
    pub const ALL: [Service; 7] =
        [Service::Ec2, Service::Iam, Service::Sqs, Service::Ssm, Service::Eks, Service::Pricing, Service::ArcZonalShift];

    pub fn protocol(self) -> Protocol {
        match self {
            Service::Ec2 => Protocol::Ec2Query { version: "2016-11-15" },
            Service::Iam => Protocol::AwsQuery { version: "2010-05-08" },
            Service::Sqs => Protocol::Json { content_type: "application/x-amz-json-1.0", target: "AmazonSQS" },
            Service::Ssm => Protocol::Json { content_type: "application/x-amz-json-1.1", target: "AmazonSSM" },
            Service::Pricing => Protocol::Json { content_type: "application/x-amz-json-1.1", target: "AWSPriceListService" },
            Service::Eks | Service::ArcZonalShift => Protocol::RestJson,
        }
    }

    /// The name in IAM actions and in the scope of signatures.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Iam => "iam",
            Service::Sqs => "sqs",
            Service::Ssm => "ssm",
            Service::Eks => "eks",
            Service::Pricing => "pricing",
            Service::ArcZonalShift => "arc-zonal-shift",
        }
    }

    /// The name of the SDK's client, in user agents.
    pub fn client_name(self) -> &'static str {
        match self {
            Service::ArcZonalShift => "arczonalshift",
            other => other.signing_name(),
        }
    }

    /// The SDK's service id, the key of `AWS_ENDPOINT_URL_<ID>`.
    pub fn id(self) -> &'static str {
        match self {
            Service::Ec2 => "EC2",
            Service::Iam => "IAM",
            Service::Sqs => "SQS",
            Service::Ssm => "SSM",
            Service::Eks => "EKS",
            Service::Pricing => "Pricing",
            Service::ArcZonalShift => "ARC Zonal Shift",
        }
    }

    /// The region that signs. IAM is global within a partition; the price list lives in few regions
    /// (`A/pkg/providers/pricing/pricing.go`, NewAPI).
    pub fn signing_region(self, region: &str) -> String {
        match self {
            Service::Iam => match partition(region) {
                Partition { name: "aws", .. } => "us-east-1",
                Partition { name: "aws-cn", .. } => "cn-north-1",
                Partition { name: "aws-us-gov", .. } => "us-gov-west-1",
                _ => region,
            },
            Service::Pricing if region.starts_with("ap-") => "ap-south-1",
            Service::Pricing if region.starts_with("cn-") => "cn-northwest-1",
            Service::Pricing if region.starts_with("eu-") => "eu-central-1",
            Service::Pricing => "us-east-1",
            _ => region,
        }
        .to_owned()
    }

    /// The public endpoint, for when no `AWS_ENDPOINT_URL` names another.
    pub fn endpoint(self, region: &str, fips: bool, dual_stack: bool) -> String {
        let partition = partition(region);
        let suffix = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
        let fips = if fips { "-fips" } else { "" };
        let signing_region = self.signing_region(region);
        match (self, partition.name) {
            (Service::Iam, "aws") => format!("https://iam{fips}.{}", if dual_stack { "global.api.aws" } else { suffix }),
            (Service::Iam, "aws-us-gov") if !dual_stack => format!("https://iam.us-gov.{suffix}"),
            (Service::Pricing, _) => format!("https://api.pricing{fips}.{signing_region}.{suffix}"),
            _ => format!("https://{}{fips}.{signing_region}.{suffix}", self.signing_name()),
        }
    }
}

struct Partition {
    name: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
}

/// Source: botocore's `partitions.json`.
fn partition(region: &str) -> Partition {
    let (name, suffix, dual_stack_suffix) = match region {
        r if r.starts_with("cn-") => ("aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
        r if r.starts_with("us-gov-") => ("aws-us-gov", "amazonaws.com", "api.aws"),
        r if r.starts_with("us-isob-") => ("aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"),
        r if r.starts_with("us-isof-") || r.starts_with("eu-isof-") => ("aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
        r if r.starts_with("us-iso-") => ("aws-iso", "c2s.ic.gov", "api.aws.ic.gov"),
        r if r.starts_with("eu-isoe-") => ("aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
        r if r.starts_with("eusc-") => ("aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"),
        _ => ("aws", "amazonaws.com", "api.aws"),
    };
    Partition { name, suffix, dual_stack_suffix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Service::Ec2, "us-west-2", "https://ec2.us-west-2.amazonaws.com", "us-west-2")]
    #[case(Service::Ec2, "cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn", "cn-north-1")]
    #[case(Service::Iam, "us-west-2", "https://iam.amazonaws.com", "us-east-1")]
    #[case(Service::Iam, "us-gov-east-1", "https://iam.us-gov.amazonaws.com", "us-gov-west-1")]
    #[case(Service::Iam, "cn-northwest-1", "https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1")]
    #[case(Service::Pricing, "eu-west-1", "https://api.pricing.eu-central-1.amazonaws.com", "eu-central-1")]
    #[case(Service::Pricing, "us-west-2", "https://api.pricing.us-east-1.amazonaws.com", "us-east-1")]
    #[case(Service::ArcZonalShift, "us-west-2", "https://arc-zonal-shift.us-west-2.amazonaws.com", "us-west-2")]
    #[case(Service::Eks, "us-west-2", "https://eks.us-west-2.amazonaws.com", "us-west-2")]
    fn lives_where_the_sdk_says(#[case] service: Service, #[case] region: &str, #[case] endpoint: &str, #[case] signs: &str) {
        assert_eq!(service.endpoint(region, false, false), endpoint);
        assert_eq!(service.signing_region(region), signs);
    }
}
