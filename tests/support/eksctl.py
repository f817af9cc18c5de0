"""The schema of eksctl's ClusterConfig: the sections that k8s/cluster.yaml uses, each with all its fields.

Facts from eksctl-io/eksctl, pkg/apis/eksctl.io/v1alpha5/assets/schema.json at 009491b, where no section takes
a field that it does not name.
"""

from typing import Any, Final

from tests.support.schemas import TAGS, TEXT, closed

YES_OR_NO: Final = {"type": "boolean"}
ANYTHING: Final[dict[str, Any]] = {}
# Whole numbers that CloudWatch takes (PutRetentionPolicy), as eksctl lists them.
RETENTION: Final = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653]
LOGS: Final = ["api", "audit", "authenticator", "controllerManager", "scheduler", "all", "*"]
SUBNETS: Final = {
    "type": "object",
    "additionalProperties": closed(id=TEXT, az=TEXT, cidr=TEXT),
}


def texts(**more: Any) -> dict[str, Any]:
    """Return the schema of a list of strings."""
    return {"type": "array", "items": {"type": "string", **more}}


def fields(names: str) -> dict[str, Any]:
    """Return fields whose values are not checked."""
    return dict.fromkeys(names.split(), ANYTHING)


METADATA: Final = closed(
    "name region",
    name=TEXT,
    region=TEXT,
    version=TEXT,
    tags=TAGS,
    **fields("annotations forceUpdateVersion rollbackConfig"),
)
VPC: Final = closed(
    id=TEXT,
    subnets=closed(private=SUBNETS, public=SUBNETS),
    clusterEndpoints=closed(privateAccess=YES_OR_NO, publicAccess=YES_OR_NO),
    publicAccessCIDRs=texts(),
    controlPlaneOnPrivateSubnets=YES_OR_NO,
    **fields(
        "autoAllocateIPv6 cidr controlPlaneEgressMode controlPlaneSecurityGroupIDs controlPlaneSubnetIDs"
        " extraCIDRs extraIPv6CIDRs hostnameType ipv6Cidr ipv6Pool manageSharedNodeSecurityGroupRules nat"
        " securityGroup sharedNodeSecurityGroup"
    ),
)
CLUSTER_CONFIG: Final = closed(
    "apiVersion kind metadata",
    apiVersion={"const": "eksctl.io/v1alpha5"},
    kind={"const": "ClusterConfig"},
    metadata=METADATA,
    upgradePolicy=closed(supportType={"enum": ["STANDARD", "EXTENDED"]}),
    kubernetesNetworkConfig=closed(
        ipFamily={"enum": ["IPv4", "IPv6"]}, serviceIPv4CIDR=TEXT, serviceIPv6CIDR=TEXT
    ),
    autoModeConfig=closed(
        enabled=YES_OR_NO, nodePools=texts(), **fields("nodeRoleARN permissionsBoundaryARN")
    ),
    accessConfig=closed(
        # EKS's own enumeration (CreateCluster); eksctl's schema has a string.
        authenticationMode={"enum": ["API", "API_AND_CONFIG_MAP", "CONFIG_MAP"]},
        bootstrapClusterCreatorAdminPermissions=YES_OR_NO,
        accessEntries=ANYTHING,
    ),
    iam=closed(
        withOIDC=YES_OR_NO,
        **fields(
            "fargatePodExecutionRoleARN fargatePodExecutionRolePermissionsBoundary podIdentityAssociations"
            " serviceAccounts serviceRoleARN serviceRolePermissionsBoundary vpcResourceControllerPolicy"
        ),
    ),
    addonsConfig=closed(autoApplyPodIdentityAssociations=YES_OR_NO, disableDefaultAddons=YES_OR_NO),
    vpc=VPC,
    secretsEncryption=closed("keyARN", keyARN=TEXT),
    cloudWatch=closed(
        clusterLogging=closed(enableTypes=texts(enum=LOGS), logRetentionInDays={"enum": RETENTION})
    ),
    **fields(
        "addons availabilityZones capabilities controlPlaneScalingConfig fargateProfiles gitops"
        " iamIdentityMappings identityProviders karpenter localZones managedNodeGroups nodeGroups outpost"
        " privateCluster remoteNetworkConfig zonalShiftConfig"
    ),
)
