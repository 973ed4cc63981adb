"""The bucket: written to as we do, read as a stranger does. What cannot be read there costs bonds."""

import secrets
from collections.abc import Sequence
from contextlib import closing

from quickstart.chain.addresses import is_loopback
from quickstart.chain.ids import blake2b_256
from quickstart.data.window import WINDOW_BYTES
from quickstart.doctor.findings import Finding, error, not_checked, ok, warning
from quickstart.doctor.surroundings import Surroundings, in_thread
from quickstart.errors import DataUnreadableError, QuickstartError
from quickstart.settings import S3Settings
from quickstart.submission.s3_lease import PROBE, S3LeaseStore
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.storage import public_client, verify_public, verify_range, warn_if_rate_limited_host

CREDENTIALS = "correct the S3_ variables; the key needs to put, read and delete objects in the bucket"
PUBLIC = "make the bucket's objects public and set S3_PUBLIC_URL to where anybody reads them; README: Settings"


async def check_bucket(at: Surroundings) -> Sequence[Finding]:
    """Puts a window there, reads it back without credentials by its hash and in part, and takes it away again."""
    if at.settings is None:
        return [not_checked("bucket", "the settings are malformed", f"correct {at.env_file}")]
    try:
        bucket = at.settings.s3
    except QuickstartError as trouble:
        return [error("bucket", str(trouble), f"set it in {at.env_file}; README: Settings")]
    if bucket is None:
        if is_loopback(at.node.rpc_url):
            return [ok("bucket", "none is needed for a node of this machine")]
        return [
            error(
                "bucket", "S3_BUCKET is not set: nothing can be published", f"set it in {at.env_file}; README: Settings"
            )
        ]
    found = [await in_thread(_tried, bucket), await in_thread(_lease_tried, bucket)]
    if limited := warn_if_rate_limited_host(bucket.public_url):
        found.append(warning("bucket", limited, "https://developers.cloudflare.com/r2/buckets/public-buckets/"))
    return found


def _tried(bucket: S3Settings) -> Finding:
    data = secrets.token_bytes(WINDOW_BYTES)  # new each time, so that no cache answers for the bucket
    checksum = blake2b_256(data)
    unreadable: Finding | None = None
    with closing(S3Storage(bucket)) as storage:
        try:
            url = storage.put(data, checksum)
        except QuickstartError as trouble:
            return error("bucket", str(trouble), CREDENTIALS)
        try:
            with public_client() as client:
                verify_public(url, checksum, len(data), client=client)
                half = len(data) // 2
                verify_range(url, half, len(data), data[half:], client=client)
        except DataUnreadableError as trouble:
            unreadable = error("bucket", str(trouble), PUBLIC)
        try:
            storage.remove((checksum,))
        except QuickstartError as trouble:
            return unreadable or warning("bucket", str(trouble), CREDENTIALS)
    return unreadable or ok(
        "bucket", f"{bucket.bucket} is written to, and read in public at {bucket.public_url}, in parts too"
    )


def _lease_tried(bucket: S3Settings) -> Finding:
    """Whether the store keeps a second signer out."""
    store = S3LeaseStore(bucket)
    try:
        store.write_if(PROBE, b"conditional writes", None)
    except QuickstartError as trouble:
        return error("lease", str(trouble), CREDENTIALS)
    finally:
        store.close()
    return ok("lease", "the bucket takes conditional writes: one machine at a time signs")
