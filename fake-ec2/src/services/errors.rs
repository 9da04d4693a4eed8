//! Every error that the services give: code, form of the message, source. Clients match on codes and on parts of messages, so both
//! are the API. `{0}`, `{1}` … stand for what the caller sent or what the cloud knows.
//!
//! Sources: "EC2 errors" is the page *Error codes for the Amazon EC2 API*; "observed" is a text that clients report, which no account
//! of ours has confirmed, with the issue that quotes it where there is one; "(code)" says that only the code has a source and the words
//! are ours; "A/…" is karpenter-provider-aws, whose matching the text must satisfy; "model" is the service's own model.

use crate::protocol::{AwsError, Call};

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    pub code: &'static str,
    pub form: &'static str,
    pub source: &'static str,
}

impl Row {
    /// The error, with its gaps filled in.
    pub fn error(&self, gaps: &[&str]) -> AwsError {
        let mut message = self.form.to_owned();
        for (at, gap) in gaps.iter().enumerate() {
            message = message.replace(&format!("{{{at}}}"), gap);
        }
        AwsError::new(self.code, message)
    }
}

macro_rules! rows {
    ($($name:ident: $code:literal, $form:literal, $source:literal;)*) => {
        $(pub const $name: Row = Row { code: $code, form: $form, source: $source };)*
        /// The whole table.
        pub const ALL: &[&Row] = &[$(&$name),*];
    };
}

rows! {
    // Of every service
    NO_SUCH_REGION: "AuthFailure", "Credential should be scoped to a valid Region, not '{0}'.", "observed";
    UNSUPPORTED: "UnsupportedOperation", "The operation {0} is not supported by this cloud.", "EC2 errors (code)";
    REQUEST_LIMIT: "RequestLimitExceeded", "Request limit exceeded.", "EC2 errors";
    THROTTLING: "ThrottlingException", "Rate exceeded", "common errors";

    // EC2: any operation
    DRY_RUN: "DryRunOperation", "Request would have succeeded, but DryRun flag is set.", "EC2 errors";
    MISSING: "MissingParameter", "The request must contain the parameter {0}", "EC2 errors, observed";
    INVALID: "InvalidParameterValue", "Value ({0}) for parameter {1} is invalid. {2}", "EC2 errors, observed";
    FILTER: "InvalidParameterValue", "The filter '{0}' is invalid", "observed: aws/aws-cli #1689";
    COMBINATION: "InvalidParameterCombination", "The parameter {0} cannot be used with the parameter {1}", "EC2 errors, observed";
    NEXT_TOKEN: "InvalidNextToken", "The specified NextToken is not valid.", "EC2 errors";
    MISMATCH: "IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical", "EC2 errors";
    INVALID_ID: "InvalidID", "The ID '{0}' is not valid", "EC2 errors";

    // EC2: things that are not there
    IMAGE_NOT_FOUND: "InvalidAMIID.NotFound", "The image id '[{0}]' does not exist", "EC2 errors, observed";
    IMAGE_MALFORMED: "InvalidAMIID.Malformed", "Invalid id: \"{0}\" (expecting \"ami-...\")", "EC2 errors, observed";
    IMAGE_UNAVAILABLE: "InvalidAMIID.Unavailable", "The image ID '{0}' is not available", "EC2 errors (code)";
    IMAGE_NAME_TAKEN: "InvalidAMIName.Duplicate", "AMI name {0} is already in use by AMI {1}", "EC2 errors, observed";
    IMAGE_NAME_MALFORMED: "InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'", "EC2 errors, observed";
    INSTANCE_NOT_FOUND: "InvalidInstanceID.NotFound", "The instance ID '{0}' does not exist", "EC2 errors";
    INSTANCES_NOT_FOUND: "InvalidInstanceID.NotFound", "The instance IDs '{0}' do not exist", "observed";
    INSTANCE_MALFORMED: "InvalidInstanceID.Malformed", "Invalid id: \"{0}\" (expecting \"i-...\")", "EC2 errors, observed";
    INSTANCE_STATE: "IncorrectInstanceState", "The instance '{0}' is not in a state from which it can be {1}.", "EC2 errors";
    SUBNET_NOT_FOUND: "InvalidSubnetID.NotFound", "The subnet ID '{0}' does not exist", "EC2 errors, observed";
    GROUP_NOT_FOUND: "InvalidGroup.NotFound", "The security group '{0}' does not exist", "EC2 errors, observed";
    GROUP_DUPLICATE: "InvalidGroup.Duplicate", "The security group '{0}' already exists for VPC '{1}'", "EC2 errors, observed";
    GROUP_IN_USE: "DependencyViolation", "resource {0} has a dependent object", "EC2 errors, observed";
    VPC_NOT_FOUND: "InvalidVpcID.NotFound", "The vpc ID '{0}' does not exist", "EC2 errors, observed";
    VPC_RANGE: "InvalidVpc.Range", "The CIDR '{0}' is invalid.", "EC2 errors";
    SUBNET_RANGE: "InvalidSubnet.Range", "The CIDR '{0}' is invalid.", "EC2 errors";
    SUBNET_CONFLICT: "InvalidSubnet.Conflict", "The CIDR '{0}' conflicts with another subnet", "EC2 errors";
    INTERFACE_NOT_FOUND: "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '{0}' does not exist", "EC2 errors, observed";
    VOLUME_NOT_FOUND: "InvalidVolume.NotFound", "The volume '{0}' does not exist.", "EC2 errors, observed";
    TEMPLATE_NAME_NOT_FOUND: "InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates specified in the request does not exist.", "EC2 errors, A/pkg/errors/errors.go (code)";
    TEMPLATE_ID_NOT_FOUND: "InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID {0}, does not exist.", "EC2 errors, A/pkg/errors/errors.go (code)";
    TEMPLATE_VERSION_NOT_FOUND: "InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version {0} for the launch template with ID {1}.", "EC2 errors, observed";
    TEMPLATE_EXISTS: "InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.", "EC2 errors, observed";
    TEMPLATE_NAME_MALFORMED: "InvalidLaunchTemplateName.MalformedException", "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: ( ) . / _ -", "EC2 errors";
    RESERVATION_NOT_FOUND: "InvalidCapacityReservationId.NotFound", "The capacity reservation with ID '{0}' was not found", "EC2 errors, A/pkg/errors/errors.go (code)";
    PLACEMENT_GROUP_UNKNOWN: "InvalidPlacementGroup.Unknown", "The Placement Group '{0}' is unknown.", "EC2 errors";
    INSTANCE_TYPES_UNKNOWN: "InvalidInstanceType", "The following supplied instance types do not exist: [{0}]", "observed: DescribeInstanceTypes";
    ZONE_UNKNOWN: "InvalidParameterValue", "Invalid availability zone: [{0}]", "observed: DescribeAvailabilityZones";
    TAG_LIMIT: "TagLimitExceeded", "The maximum number of Tags for a resource has been reached.", "EC2 errors";
    TAG_RESERVED: "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use", "EC2 errors, observed";
    TAG_KEY: "InvalidParameterValue", "Tag key exceeds the maximum length of 128 characters: '{0}'", "EC2 errors (code)";
    TAG_VALUE: "InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters: '{0}'", "EC2 errors (code)";
    TAG_TARGET: "InvalidID", "The ID '{0}' is not valid", "EC2 errors";

    // EC2: launches
    TYPE_INVALID: "InvalidParameterValue", "Invalid value '{0}' for InstanceType.", "observed";
    ARCHITECTURE: "InvalidParameterValue", "The architecture '{0}' of the specified instance type does not match the architecture '{1}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.", "observed";
    PROFILE_NAME: "InvalidParameterValue", "Value ({0}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", "observed; A/pkg/errors/errors.go matches the end";
    PROFILE_ARN: "InvalidParameterValue", "Value ({0}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", "observed";
    NETWORKS: "InvalidParameter", "Security group {0} and subnet {1} belong to different networks.", "observed; A/pkg/errors/errors.go matches the end";
    NO_DEFAULT_SUBNET: "MissingInput", "No subnets found for the default VPC '{0}'. Please specify a subnet.", "observed";
    NO_DEFAULT_VPC: "VPCIdNotSpecified", "No default VPC for this user", "EC2 errors";
    NOT_IN_ZONE: "Unsupported", "Your requested instance type ({0}) is not supported in your requested Availability Zone ({1}). Please retry your request by not specifying an Availability Zone or choosing {2}.", "observed";
    NOT_IN_REGION: "Unsupported", "The requested configuration is currently not supported. Please check the documentation for supported configurations.", "observed";
    ADDRESSES: "InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '{0}' to satisfy the requested number of instances.", "EC2 errors, observed";
    CAPACITY: "InsufficientInstanceCapacity", "We currently do not have sufficient {0} capacity in the Availability Zone you requested ({1}). Our system will be working on provisioning additional capacity. You can currently get {0} capacity by not specifying an Availability Zone in your request or choosing {2}.", "observed: aws/karpenter-provider-aws #1233";
    CAPACITY_NOWHERE: "InsufficientInstanceCapacity", "We currently do not have sufficient {0} capacity in the Availability Zone you requested ({1}). Our system will be working on provisioning additional capacity.", "observed";
    CAPACITY_REGION: "InsufficientInstanceCapacity", "There is no {0} capacity available that matches your request.", "observed, shortened";
    SPOT_CAPACITY: "UnfulfillableCapacity", "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.", "observed: aws/karpenter-provider-aws #5789";
    SPOT_RUN_CAPACITY: "InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request.", "observed: RunInstances";
    SPOT_PRICE: "SpotMaxPriceTooLow", "Your Spot request price of {0} is lower than the minimum required Spot request fulfillment price of {1}.", "EC2 errors, observed";
    SPOT_TYPE: "Unsupported", "The instance type '{0}' does not support the market type 'spot'.", "EC2 errors (code)";
    MINIMUM: "UnfulfillableCapacity", "The minimum target capacity of {0} could not be reached; no instances were launched.", "CreateFleet documentation (MinTargetCapacity)";
    USER_DATA_SIZE: "InvalidUserData.Malformed", "User data is limited to 16384 bytes", "observed; A/pkg/errors/errors.go matches the start";
    USER_DATA_BASE64: "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.", "observed";
    INTERFACE_GROUPS: "InvalidParameterCombination", "Network interfaces and an instance-level {0} may not be specified on the same request", "observed";
    FLEET_TYPE: "UnsupportedOperation", "Fleets of type {0} are not supported by this cloud.", "EC2 errors (code)";
    FLEET_REQUIREMENTS: "InvalidParameterValue", "No instance type in the Region matches the InstanceRequirements.", "EC2 errors (code)";
    FLEET_NOT_FOUND: "InvalidFleetId.NotFound", "The fleet ID '{0}' does not exist", "EC2 errors (code)";
    REQUIREMENTS_AND_TYPE: "InvalidParameterCombination", "InstanceType and InstanceRequirements may not be specified on the same override", "API reference, FleetLaunchTemplateOverridesRequest";
    MARKET_UNSUPPORTED: "UnsupportedOperation", "The market {0} is not supported by this cloud.", "EC2 errors (code)";

    VPC_IN_USE: "DependencyViolation", "The vpc '{0}' has dependencies and cannot be deleted.", "EC2 errors, observed";
    SUBNET_IN_USE: "DependencyViolation", "The subnet '{0}' has dependencies and cannot be deleted.", "EC2 errors, observed";
    PERMISSION_EXISTS: "InvalidPermission.Duplicate", "the specified rule already exists", "EC2 errors, observed";
    PROTOCOL: "InvalidParameterValue", "Invalid value '{0}' for IP protocol. Unknown protocol.", "EC2 errors, observed";
    PORT: "InvalidParameterValue", "Invalid value '{0}' for port. Must be between 0 and 65535.", "EC2 errors (code)";
    PORT_RANGE: "InvalidParameterValue", "Invalid TCP/UDP port range ({0}:{1})", "EC2 errors, observed";
    RULE_CIDR: "InvalidParameterValue", "CIDR block {0} is malformed", "EC2 errors, observed";
    NO_PERMISSION: "InvalidPermission.NotFound", "The specified rule does not exist in this security group.", "EC2 errors, observed";
    DEFAULT_GROUP: "CannotDelete", "the specified group: \"{0}\" name: \"default\" cannot be deleted by a user", "EC2 errors, observed";
    VOLUME_IN_USE: "VolumeInUse", "Volume {0} is currently attached to {1}", "EC2 errors, observed";
    VOLUME_ATTACHED: "VolumeInUse", "{0} is already attached to an instance", "EC2 errors, observed";
    VOLUME_FREE: "IncorrectState", "Volume '{0}' is in the 'available' state.", "EC2 errors, observed";
    VOLUME_ELSEWHERE: "InvalidVolume.ZoneMismatch", "The volume '{0}' is not in the same availability zone as instance '{1}'", "EC2 errors, observed";
    VOLUME_SIZE: "InvalidParameterValue", "A volume of type {0} has from {1} to {2} GiB.", "EC2 errors (code); EBS user guide, \"Amazon EBS volume types\"";
    VOLUME_ZONE: "InvalidZone.NotFound", "The zone '{0}' does not exist.", "EC2 errors, observed";
    DEVICE_TAKEN: "InvalidParameterValue", "Invalid value '{0}' for unixDevice. Attachment point {0} is already in use", "observed";
    INSTANCE_NOT_RUNNING: "IncorrectState", "Instance '{0}' is not 'running'.", "EC2 errors, observed";
    NO_ATTACHMENT: "InvalidAttachment.NotFound", "The volume '{0}' is not attached to instance '{1}' as this device", "EC2 errors (code)";
    ROOT_VOLUME: "OperationNotPermitted", "Unable to detach root volume '{0}' from instance '{1}'", "EC2 errors, observed";
    SNAPSHOT_NOT_FOUND: "InvalidSnapshot.NotFound", "The snapshot '{0}' does not exist.", "EC2 errors, observed";
    IMAGE_REGION: "UnsupportedOperation", "Images are copied within one region by this cloud, not from {0}.", "EC2 errors (code)";
    IMAGE_USER: "InvalidAMIAttributeItemValue", "Invalid attribute item value \"{0}\" for userId item type.", "EC2 errors, observed";
    SPOT_STOP: "UnsupportedOperation", "You can't stop the Spot Instance '{0}' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", "EC2 errors (code), observed";
    SPOT_REQUEST_NOT_FOUND: "InvalidSpotInstanceRequestID.NotFound", "The spot instance request ID '{0}' does not exist", "EC2 errors, observed";
    SPOT_TAGS: "InvalidParameterValue", "You cannot specify tags for Spot instances requests if there are no Spot instances requests in the request.", "observed: aws/karpenter-provider-aws #5850";
    TOO_MANY: "InstanceLimitExceeded", "You have requested more instances than are allowed in one request.", "EC2 errors (code)";
    TOO_MANY_INTERFACES: "AttachmentLimitExceeded", "Interface count {0} exceeds the limit for {1}", "EC2 errors, observed";
    RESERVATION_MISMATCH: "InvalidParameterValue", "The instance type or the Availability Zone of the launch differs from that of the Capacity Reservation '{0}'.", "ours";
    RESERVATION_STATE: "InvalidCapacityReservationState", "The Capacity Reservation '{0}' is {1}.", "EC2 errors (code)";
    PLACEMENT_GROUP_EXISTS: "InvalidPlacementGroup.Duplicate", "The placement group '{0}' already exists.", "EC2 errors, observed";
    PLACEMENT_GROUP_IN_USE: "InvalidPlacementGroup.InUse", "The placement group '{0}' is in use and may not be deleted.", "EC2 errors, observed";
    GROUP_ELSEWHERE: "InvalidPlacementGroup.InUse", "The placement group '{0}' is in use in another availability zone: {1}", "observed: bcbio/bcbio-nextgen-vm #45";
    GROUP_STRATEGY: "InvalidParameterCombination", "{0} placement groups are not supported by the '{1}' instance type. Specify a supported instance type or change the placement group strategy, and try again.", "observed: dstackai/dstack #2872";
    SPREAD_LIMIT: "InsufficientInstanceCapacity", "You've reached the limit of instances in this spread placement group. A spread placement group can have up to seven instances per Availability Zone.", "A/pkg/errors/errors.go";
    VCPU_QUOTA: "VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of {0} allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.", "EC2 errors, observed";
    SPOT_QUOTA: "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded", "EC2 errors, observed: aws/karpenter-provider-aws #5789";
    ZONE_DOWN: "Unavailable", "The server is overloaded and can't handle the request.", "EC2 errors; API reference, DescribeInstances (behaviour)";
    KEPT: "OperationNotPermitted", "The instance '{0}' may not be {1}. Modify its '{2}' instance attribute and try again.", "EC2 errors, observed";
    OWN_IMAGE: "AuthFailure", "Not authorized for image:{0}", "EC2 errors (code), observed";
    RESERVATION_FULL: "ReservationCapacityExceeded", "The requested reservations do not have sufficient capacity.", "A/pkg/errors/errors.go (code)";

    // IAM, STS
    NO_LINKED_ROLE: "InvalidInput", "The specified service does not support service-linked roles.", "model (code)";
    LINKED_ROLE_EXISTS: "InvalidInput", "Service role name {0} has been taken in this account, please try a different suffix.", "observed";
    MAY_NOT_ASSUME: "AccessDenied", "User: {0} is not authorized to perform: {1} on resource: {2}", "observed";
    SESSION_OF_SESSION: "AccessDenied", "Cannot call GetSessionToken with session credentials", "observed";
    SESSION_SECONDS: "ValidationError", "1 validation error detected: Value '{0}' at 'durationSeconds' failed to satisfy constraint: Member must have value {1}", "common errors, observed";
    KEY_FORM: "ValidationError", "Value '{0}' at 'accessKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w]*, and have length between 16 and 128", "common errors (code)";
    SESSION_LENGTH: "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", "observed";
    NO_ROLE: "NoSuchEntity", "The role with name {0} cannot be found.", "observed; A/pkg/errors/errors.go matches `role`";
    NO_PROFILE: "NoSuchEntity", "Instance Profile {0} cannot be found.", "observed";
    NO_POLICY: "NoSuchEntity", "The role policy with name {0} cannot be found.", "observed";
    NOT_ATTACHED: "NoSuchEntity", "Policy {0} was not found.", "observed";
    ROLE_EXISTS: "EntityAlreadyExists", "Role with name {0} already exists.", "observed";
    PROFILE_EXISTS: "EntityAlreadyExists", "Instance Profile {0} already exists.", "observed";
    PROFILE_FULL: "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1", "observed";
    PROFILE_HAS_ROLES: "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.", "observed";
    ROLE_HAS_PROFILES: "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.", "observed";
    ROLE_HAS_POLICIES: "DeleteConflict", "Cannot delete entity, must detach all policies first.", "observed";
    ROLE_NOT_IN_PROFILE: "NoSuchEntity", "The role with name {0} cannot be found.", "observed";
    IAM_NAME: "ValidationError", "The specified value for {0} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", "observed";
    POLICY_DOCUMENT: "MalformedPolicyDocument", "{0}", "observed: the words of policy::document::Fault";
    NO_MANAGED_POLICY: "NoSuchEntity", "Policy {0} was not found.", "observed";
    NOT_ATTACHABLE: "NoSuchEntity", "Policy {0} does not exist or is not attachable.", "observed";
    NO_POLICY_VERSION: "NoSuchEntity", "Policy {0} version {1} does not exist or is not attachable.", "observed";
    POLICY_EXISTS: "EntityAlreadyExists", "A policy called {0} already exists. Duplicate names are not allowed.", "observed";
    POLICY_ATTACHED: "DeleteConflict", "Cannot delete a policy attached to entities.", "observed";
    POLICY_DEFAULT: "DeleteConflict", "Cannot delete the default version of a policy.", "observed";
    POLICY_VERSIONS: "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.", "observed";
    NO_USER: "NoSuchEntity", "The user with name {0} cannot be found.", "observed";
    NO_USER_POLICY: "NoSuchEntity", "The user policy with name {0} cannot be found.", "observed";
    USER_EXISTS: "EntityAlreadyExists", "User with name {0} already exists.", "observed";
    USER_HAS_POLICIES: "DeleteConflict", "Cannot delete entity, must detach all policies first.", "observed";
    USER_HAS_KEYS: "DeleteConflict", "Cannot delete entity, must delete access keys first.", "observed";
    NO_ACCESS_KEY: "NoSuchEntity", "The Access Key with id {0} cannot be found.", "observed";
    ACCESS_KEYS: "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", "observed";
    NO_PROVIDER: "NoSuchEntity", "OpenIDConnect Provider not found for arn {0}", "observed";
    PROVIDER_EXISTS: "EntityAlreadyExists", "Provider with url {0} already exists.", "observed";
    PROVIDER_URL: "ValidationError", "Invalid Open ID Connect Provider URL", "observed";
    NO_BOUNDARY: "NoSuchEntity", "Scope ARN: {0} does not exist or is not attachable.", "observed";
    NO_SUCH_ROLE_BOUNDARY: "NoSuchEntity", "No permissions boundary is attached to {0}.", "model (code)";
    SIMULATED_ENTITY: "NoSuchEntity", "The entity with ARN {0} cannot be found.", "model (code)";
    SIMULATED_POLICY: "InvalidInput", "{0}", "model (code)";
    DECODE: "InvalidAuthorizationMessageException", "Message is not valid", "model (code)";
    UNTRUSTED_TOKEN: "InvalidIdentityToken", "{0}", "model, observed";
    TOKEN_EXPIRED: "ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time", "model, observed";
    SLR_FOR_SPOT: "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.", "observed; A/pkg/errors/errors.go (code)";
    IAM_MARKER: "ValidationError", "Invalid Marker.", "model (code)";

    // SQS
    NO_QUEUE: "QueueDoesNotExist", "The specified queue does not exist.", "model, observed; A/pkg/errors/errors.go (code)";
    QUEUE_DIFFERS: "QueueNameExists", "A queue already exists with the same name and a different value for attribute {0}", "model, observed";
    RECEIPT: "ReceiptHandleIsInvalid", "The input receipt handle \"{0}\" is not a valid receipt handle.", "model, observed";
    SQS_VALUE: "InvalidParameterValue", "Value {0} for parameter {1} is invalid. Reason: {2}", "observed";
    SQS_ATTRIBUTE: "InvalidAttributeName", "Unknown Attribute {0}.", "model, observed";
    SQS_ATTRIBUTE_VALUE: "InvalidAttributeValue", "Invalid value for the parameter {0}.", "model, observed";
    SQS_FIFO: "UnsupportedOperation", "FIFO queues are not supported by this cloud.", "model (code)";
    BATCH_EMPTY: "EmptyBatchRequest", "There should be at least one {0} in the request.", "model, observed";
    BATCH_LONG: "TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent {0}.", "model, observed";
    BATCH_IDS: "BatchEntryIdsNotDistinct", "Id {0} repeated.", "model, observed";

    MESSAGE_LONG: "InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than {0} bytes.", "observed";

    // SSM
    PARAMETER_IMAGE: "ValidationException", "The AMI ID {0} does not exist.", "common errors (code)";
    NO_PARAMETER: "ParameterNotFound", "", "model, observed: the message is empty";
    PARAMETER_EXISTS: "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.", "model, observed";
    PARAMETER_RESERVED: "AccessDeniedException", "No access to reserved parameter name: {0}.", "observed";
    SSM_FILTER: "InvalidFilterKey", "The filter key {0} is not valid.", "model";
    SSM_TOKEN: "InvalidNextToken", "The specified token is not valid.", "model";
    SSM_VALIDATION: "ValidationException", "{0}", "common errors";

    // EKS
    NO_CLUSTER: "ResourceNotFoundException", "No cluster found for name: {0}.", "model, observed";
    CLUSTER_EXISTS: "ResourceInUseException", "Cluster already exists with name: {0}", "model, observed";
    EKS_PARAMETER: "InvalidParameterException", "{0}", "model";

    EKS_TOKEN: "InvalidParameterException", "Invalid nextToken.", "model (code)";
    CLUSTER_HAS_GROUPS: "ResourceInUseException", "Cluster has nodegroups attached", "model, observed";
    NO_NODEGROUP: "ResourceNotFoundException", "No node group found for name: {0}.", "model, observed";
    NODEGROUP_EXISTS: "ResourceInUseException", "NodeGroup already exists with name {0} and cluster name {1}", "model, observed";
    NO_ENTRY: "ResourceNotFoundException", "The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.", "model, observed";
    NODEGROUP_BUSY: "ResourceInUseException", "Nodegroup {0} is being created or updated", "model (code)";
    NO_UPDATE: "ResourceNotFoundException", "No update found for id {0}", "model (code)";
    ENTRY_EXISTS: "ResourceInUseException", "The specified access entry resource is already in use on this cluster.", "model, observed";
    NO_ASSOCIATION: "ResourceNotFoundException", "Association not found: {0}", "model, observed";
    ASSOCIATION_EXISTS: "ResourceInUseException", "Association already exists: {0}", "model, observed";
    POD_TOKEN: "InvalidTokenException", "The token is not valid: {0}", "model (code)";
    POD_UNKNOWN: "ResourceNotFoundException", "No Pod Identity association for service account {1} in namespace {0}.", "model (code)";

    // Auto Scaling
    SCALING_VALIDATION: "ValidationError", "{0}", "common errors, observed";
    NO_GROUP: "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup '{0}' not found", "observed";
    GROUP_EXISTS: "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name {0} already exists", "model, observed";
    SCALING_IN_USE: "ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.", "model, observed";
    NOT_IN_GROUP: "ValidationError", "Instance Id not found - No managed instance found for instance ID: {0}", "observed";
    SCALING_TOKEN: "InvalidNextToken", "The token '' is invalid.", "model, observed";

    // Pricing, EventBridge, ARC
    SHIFT_EXISTS: "ConflictException", "There is already a zonal shift for the resource.", "model (code)";
    NO_SHIFT: "ResourceNotFoundException", "The zonal shift with identifier {0} was not found.", "model (code)";
    SHIFT_VALUE: "ValidationException", "{0}", "model";
    SHIFT_TOKEN: "ValidationException", "The pagination token is not valid.", "model (code)";
    PRICING_SERVICE: "NotFoundException", "Invalid ServiceCode: {0}", "model";
    PRICING_TOKEN: "InvalidNextTokenException", "The pagination token is invalid.", "model";
    PRICING_PARAMETER: "InvalidParameterException", "{0}", "model";
    NO_RULE: "ResourceNotFoundException", "Rule {0} does not exist on EventBus {1}.", "model, observed";
    NO_BUS: "ResourceNotFoundException", "Event bus {0} does not exist.", "model, observed";
    RULE_HAS_TARGETS: "ValidationException", "Rule can't be deleted since it has targets.", "observed";
    PATTERN: "InvalidEventPatternException", "Event pattern is not valid. Reason: {0}", "model, observed";
    RULE_EMPTY: "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.", "observed";
    SCHEDULE: "ValidationException", "Parameter ScheduleExpression is not valid.", "observed";
    SCHEDULE_CRON: "UnsupportedOperation", "Schedules of this cloud are rate(…); cron(…) does not fire here.", "ours";
    TARGET: "ValidationException", "{0}", "observed; the words on paths are ours";
    EVENTS_TOKEN: "ValidationException", "Parameter NextToken is not valid.", "model (code)";
    NO_MANAGED_RESOURCE: "ResourceNotFoundException", "The resource with identifier {0} was not found.", "model";
}

/// What the model knows and this cloud does not do.
pub fn unsupported(call: &Call) -> AwsError {
    UNSUPPORTED.error(&[call.operation])
}

/// `Value (x) for parameter y is invalid. why`
pub fn invalid(value: &str, parameter: &str, why: &str) -> AwsError {
    INVALID.error(&[value, parameter, why])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_its_source_and_fills_its_gaps() {
        for row in ALL {
            assert!(!row.source.is_empty() && !row.code.is_empty(), "{row:?}");
            let error = row.error(&["a", "b", "c"]);
            assert!(!error.message.contains("{0}") && !error.message.contains("{3}"), "{error}");
        }
    }
}
