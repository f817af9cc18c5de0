"""The EU guard: before any byte is read or written, it refuses buckets and sessions of other regions.

Refusal is exit code 4. Folders are not checked: they are where their machine is.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from job.errors import ResidencyError

# The EU's own regions. London (eu-west-2) and Zurich (eu-central-2) are in Europe and outside the EU.
EU_REGIONS: Final = ("eu-west-1", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2")


def check(locations: Iterable[str], regions: Sequence[str]) -> None:
    """Refuse inputs and outputs outside the accepted regions.

    Raises
    ------
    ResidencyError
        Naming the bucket or the session in another region.
    """
    # Imported here: scripts that need only the regions have no obstore.
    from job.storage import aws, s3, store  # noqa: PLC0415

    buckets = sorted({s3.split(location)[0] for location in locations if store.is_s3(location)})
    if not buckets:
        return
    session = aws.session().region_name
    if session is not None and session not in regions:
        raise ResidencyError(
            f"the AWS session is set to {session}, which is not among {', '.join(regions)}: set AWS_REGION"
        )
    check_buckets(buckets, regions, aws.bucket_region)


def check_buckets(buckets: Sequence[str], regions: Sequence[str], region_of: Callable[[str], str]) -> None:
    """Refuse buckets outside the accepted regions; `region_of` returns a bucket's region. Raises as above."""
    for bucket, region in [(bucket, region_of(bucket)) for bucket in buckets]:
        if region not in regions:
            raise ResidencyError(f"bucket {bucket!r} is in {region}, which is not among {', '.join(regions)}")
