"""The EU guard: before a byte is read or written, every bucket and the session must be in an accepted region.

Refusal is exit code 4. Folders are where their machine is, so there is nothing to ask.
"""

from collections.abc import Iterable, Sequence

from job.errors import ResidencyError
from job.storage import aws, s3, store


def check(locations: Iterable[str], regions: Sequence[str]) -> None:
    """Refuse a run with a location, an input or an output, outside the accepted regions.

    Raises
    ------
    ResidencyError
        With the bucket or the session that is elsewhere.
    """
    buckets = sorted({s3.split(location)[0] for location in locations if store.is_s3(location)})
    if not buckets:
        return
    accepted = ", ".join(regions)
    session = aws.session().region_name
    if session is not None and session not in regions:
        raise ResidencyError(
            f"the AWS session is set to {session}, which is not among {accepted}: set AWS_REGION"
        )
    found = {bucket: aws.bucket_region(bucket) for bucket in buckets}
    for bucket, region in found.items():
        if region not in regions:
            raise ResidencyError(f"bucket {bucket!r} is in {region}, which is not among {accepted}")
