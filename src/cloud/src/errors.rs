//! What AWS's error codes mean for a launch. Source: `A/pkg/errors/errors.go`.

use crate::port::CloudError;

const NOT_FOUND: [&str; 7] = [
    "InvalidCapacityReservationId.NotFound",
    "InvalidInstanceID.NotFound",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateId.NotFound",
    "QueueDoesNotExist",
    "NoSuchEntity",
    "ParameterNotFound",
];

/// Capacity that is not to be had for a while, a quota included.
const UNFULFILLABLE: [&str; 8] = [
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "UnfulfillableCapacity",
    "Unsupported",
    "InsufficientFreeAddressesInSubnet",
    "MaxFleetCountExceeded",
    "ReservationCapacityExceeded",
];

pub const SERVICE_LINKED_ROLE_NOT_PERMITTED: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted";
pub const NO_FREE_ADDRESSES: &str = "InsufficientFreeAddressesInSubnet";

impl CloudError {
    pub fn is_not_found(&self) -> bool {
        NOT_FOUND.contains(&self.code.as_str())
    }

    pub fn is_dry_run(&self) -> bool {
        self.code == "DryRunOperation"
    }

    pub fn is_unauthorized(&self) -> bool {
        self.code == "UnauthorizedOperation"
    }

    pub fn is_rate_limited(&self) -> bool {
        self.code == "RequestLimitExceeded"
    }

    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }

    pub fn is_launch_template_not_found(&self) -> bool {
        self.code == "InvalidLaunchTemplateName.NotFoundException"
    }

    /// EC2 does not see the profile yet that IAM has already made.
    pub fn is_instance_profile_not_found(&self) -> bool {
        self.code == "InvalidParameterValue" && self.message.contains("Invalid IAM Instance Profile name")
    }

    pub fn is_user_data_too_large(&self) -> bool {
        self.code == "InvalidUserData.Malformed" && self.message.contains("User data is limited to")
    }

    /// `AddRoleToInstanceProfile` found no such role.
    pub fn is_role_not_found(&self) -> bool {
        self.code == "NoSuchEntity" && self.message.contains("role")
    }
}

/// Whether a fleet's error code says that the capacity is not to be had.
pub fn is_unfulfillable(code: &str) -> bool {
    UNFULFILLABLE.contains(&code)
}

/// The condition reason and message of a failed launch, by substrings in this order (`ToReasonMessage`).
pub fn reason(text: &str) -> (&'static str, &'static str) {
    let has = |part: &str| text.contains(part);
    if has(SERVICE_LINKED_ROLE_NOT_PERMITTED) {
        return (
            "SpotSLRCreationFailed",
            "User does not have sufficient permission to create the Spot ServiceLinkedRole to launch spot instances",
        );
    }
    if has("UnauthorizedOperation") || has("AccessDenied") || has("AuthFailure") {
        return unauthorized(text);
    }
    if has("InvalidParameter") && has("belong to different networks") {
        return ("SecurityGroupSubnetVPCMismatch", "Security groups and subnets must be in the same VPC.");
    }
    REASONS
        .iter()
        .find(|(part, _, _)| has(part))
        .map_or(("LaunchFailed", "Instance launch failed"), |(_, reason, message)| (reason, message))
}

/// A spread placement group has all the machines that it takes in a zone.
pub fn is_spread_limit(message: &str) -> bool {
    message.contains("limit of instances in this spread placement group")
}

fn unauthorized(text: &str) -> (&'static str, &'static str) {
    if text.contains("with an explicit deny in a permissions boundary") {
        return ("Unauthorized", "User is not authorized to perform this operation due to a permission boundary");
    }
    if text.contains("with an explicit deny in a service control policy") {
        return ("Unauthorized", "User is not authorized to perform this operation due to a service control policy");
    }
    if text.contains("Not authorized for images") {
        return ("AMIAuthorizationFailure", "User is not authorized for AMI used in instance launch");
    }
    ("Unauthorized", "User is not authorized to perform this operation because no identity-based policy allows it")
}

/// Substring, reason, message.
const REASONS: [(&str, &str, &str); 13] = [
    (
        "iamInstanceProfile.name is invalid",
        "InstanceProfileNameInvalid",
        "Instance profile name used from EC2NodeClass status does not exist",
    ),
    ("InvalidLaunchTemplateId.NotFound", "LaunchTemplateNotFound", "Launch template used for instance launch wasn't found"),
    ("User data is limited to", "UserDataSizeLimitExceeded", "Rendered user data exceeds the EC2 user data size limit"),
    ("InvalidAMIID.Malformed", "InvalidAMIID", "AMI used for instance launch is invalid"),
    ("InvalidAMIID.NotFound", "AMINotFound", "AMI used for instance launch either does not exist or you don't have permissions to use it"),
    ("RequestLimitExceeded", "RequestLimitExceeded", "Request limit exceeded"),
    ("InternalError", "InternalError", "An internal error has occurred"),
    ("not eligible for Free Tier", "FreeTierIneligible", "The specified instance type is not eligible for Free Tier"),
    ("MaxFleetCountExceeded", "FleetQuotaExceeded", "A fleet launch was requested but this would exceed your fleet request quota"),
    (
        "PendingVerification",
        "AccountPendingVerification",
        "An instance launch was requested but the request for launching resources in this region is still being verified",
    ),
    (
        "MaxSpotInstanceCountExceeded",
        "SpotQuotaExceeded",
        "A spot instance launch was requested but this would exceed your spot instance quota",
    ),
    ("VcpuLimitExceeded", "VCPULimitExceeded", "An instance was requested that would exceed your VCPU quota"),
    (
        "InsufficientFreeAddressesInSubnet",
        "InsufficientFreeAddressesInSubnet",
        "There are not enough free IP addresses to launch an instance in this subnet",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("AuthFailure.ServiceLinkedRoleCreationNotPermitted: no", "SpotSLRCreationFailed")]
    #[case("UnauthorizedOperation: You are not authorized", "Unauthorized")]
    #[case("UnauthorizedOperation: Not authorized for images: [ami-1]", "AMIAuthorizationFailure")]
    #[case("InvalidParameter: Security group sg-1 and subnet subnet-1 belong to different networks.", "SecurityGroupSubnetVPCMismatch")]
    #[case("InvalidParameterValue: Value (x) for parameter iamInstanceProfile.name is invalid.", "InstanceProfileNameInvalid")]
    #[case("InvalidAMIID.NotFound: gone; VcpuLimitExceeded: more", "AMINotFound")]
    #[case("VcpuLimitExceeded: more", "VCPULimitExceeded")]
    #[case("too few instances returned: too few instances returned", "LaunchFailed")]
    fn reasons_are_found_in_upstreams_order(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(reason(text).0, expected);
    }

    #[rstest]
    #[case("InsufficientInstanceCapacity", true)]
    #[case("Unsupported", true)]
    #[case("RequestLimitExceeded", false)]
    #[case("UnauthorizedOperation", false)]
    fn unfulfillable_codes(#[case] code: &str, #[case] expected: bool) {
        assert_eq!(is_unfulfillable(code), expected);
    }
}
