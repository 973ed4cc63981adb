"""Published bytes in an S3 bucket: Amazon's, R2, MinIO or any other that speaks the protocol."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import urlsplit

from quickstart.chain.backoff import Backoff
from quickstart.chain.ids import Id32
from quickstart.chain.outcomes import TransferFailure, TransferProblem, s3_failure
from quickstart.errors import (
    BusyError,
    NetworkError,
    QuickstartError,
    SettingsError,
    UnmappedFailure,
    UnreachableError,
    UsageError,
)
from quickstart.settings import S3Settings
from quickstart.submission.storage import object_key, warn_if_rate_limited_host
from quickstart.units import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

Upload: TypeAlias = Callable[[dict[str, str]], object]
"""Sends an object's bytes, with arguments as of `put_object`."""

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
READ_SECONDS = 20
OUR_PREFIXES = ("windows/", "leases/")
ATTEMPTS = 4
BACKOFF = Backoff(first=0.5, longest=20.0)
CONNECTIONS = 32
PART_BYTES = 16 * MIB
PARTS_AT_A_TIME = 4
"""Of a file; a few more wait in memory, ten at most."""
PART_SECONDS = 300.0

CONTENT_TYPE = "application/octet-stream"
# Content never changes under a name made from it.
CACHE_CONTROL = "public, max-age=31536000, immutable"


class S3Storage:
    """Objects in a bucket, readable by anybody at `settings.public_url`. Safe to call from threads.

    Each object is made public by its own access list where the bucket knows such lists. R2, and buckets whose
    owner turned them off, do not: there the bucket itself must be public, which is found out once. A public host
    that limits reads is told of at error level, which every command shows: it can cost the bond.
    """

    def __init__(
        self, settings: S3Settings, sleep: Callable[[float], None] = time.sleep, part_bytes: int = PART_BYTES
    ) -> None:
        warning = warn_if_rate_limited_host(settings.public_url)
        if warning is not None:
            log.error(warning)
        self._settings = settings
        self._client = s3_client(settings)  # `_patiently` tries again, and waits as it is told
        self._sleep = sleep
        self._part_bytes = part_bytes
        self._lock = threading.Lock()
        self._known: set[Id32] = set()
        self._with_acl = not (urlsplit(settings.endpoint_url or "").hostname or "").endswith(
            ".r2.cloudflarestorage.com"
        )

    def put(self, data: bytes, checksum: Id32, *, again: bool = False) -> str:
        """See `Storage.put`. What is already there with the same size is not sent again, unless `again`.

        Raises:
            SettingsError: bucket, credentials or permissions are not right; names which variable.
            UnreachableError: the endpoint does not answer.
            BusyError: the service is busy, after retries.
            NetworkError: the service failed otherwise.
        """
        put = partial(self._client.put_object, Bucket=self._settings.bucket, Key=object_key(checksum), Body=data)
        return self._put(checksum, len(data), lambda options: self._patiently(partial(put, **options)), again)

    def put_file(self, path: Path, checksum: Id32, *, again: bool = False) -> str:
        """See `Storage.put_file`: in parts, each tried again by itself, of which none is left behind when others fail
        for good. Raises as `put` does, and OSError when the file cannot be read.
        """
        return self._put(checksum, path.stat().st_size, partial(self._upload_file, path, object_key(checksum)), again)

    def _put(self, checksum: Id32, size: int, upload: Upload, again: bool) -> str:
        with self._lock:
            known = checksum in self._known
        if again or not known:
            if again or not self._is_there(checksum, size):
                self._upload(upload)
            with self._lock:
                self._known.add(checksum)
        return self.public_url(checksum)

    def public_url(self, checksum: Id32) -> str:
        return f"{self._settings.public_url}/{object_key(checksum)}"

    def remove(self, checksums: Iterable[Id32]) -> None:
        """See `Storage.remove`.

        Raises:
            SettingsError: the credentials may not delete. NetworkError, UnreachableError: as `put`.
        """
        names = list(checksums)
        self.remove_keys(map(object_key, names))
        with self._lock:
            self._known.difference_update(names)

    def keys(self) -> list[str]:
        """Every object of ours in the bucket: windows and leases. Raises as `put` does."""
        from botocore.exceptions import BotoCoreError, ClientError

        found: list[str] = []
        try:
            for prefix in OUR_PREFIXES:
                pages = self._client.get_paginator("list_objects_v2").paginate(
                    Bucket=self._settings.bucket, Prefix=prefix
                )
                found += [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        except (BotoCoreError, ClientError) as error:
            raise bucket_error(self._settings, s3_failure(error)) from error
        return found

    def remove_keys(self, keys: Iterable[str]) -> None:
        """Deletes objects; what is not there is no failure. Raises as `put` does."""
        from botocore.exceptions import BotoCoreError, ClientError

        for key in keys:
            # One by one: deleting many in one call needs a checksum that not every service takes.
            try:
                self._patiently(partial(self._client.delete_object, Bucket=self._settings.bucket, Key=key))
            except (BotoCoreError, ClientError) as error:
                raise bucket_error(self._settings, s3_failure(error)) from error

    def close(self) -> None:
        self._client.close()

    def _patiently(self, call: Callable[[], T]) -> T:
        """A call of the service, tried again while it is busy or away, as it asks."""
        from botocore.exceptions import BotoCoreError, ClientError

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except (BotoCoreError, ClientError) as error:
                failure = s3_failure(error)
                if not failure.retryable or attempt == ATTEMPTS:
                    raise
                self._sleep(BACKOFF.pause(attempt, failure.retry_after_seconds))
        raise AssertionError("the loop returns or raises")

    def _is_there(self, checksum: Id32, size: int) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            head = partial(self._client.head_object, Bucket=self._settings.bucket, Key=object_key(checksum))
            found = self._patiently(head)
        except (BotoCoreError, ClientError) as error:
            failure = s3_failure(error)
            # Without the right to list, a missing object reads as forbidden; the upload will tell.
            if failure.problem in (TransferProblem.NOT_FOUND, TransferProblem.PERMISSION):
                return False
            raise bucket_error(self._settings, failure) from error
        return int(found["ContentLength"]) == size

    def _upload(self, upload: Upload) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        options = {"ContentType": CONTENT_TYPE, "CacheControl": CACHE_CONTROL}
        with_acl = self._with_acl
        try:
            upload(options | {"ACL": "public-read"} if with_acl else options)
            return
        except (BotoCoreError, ClientError) as error:
            failure = s3_failure(error)
            # The right to write without the right to set access lists is refused in the same words as none.
            may_be_acl = failure.problem in (TransferProblem.NO_ACL, TransferProblem.PERMISSION)
            if not (with_acl and may_be_acl):
                raise bucket_error(self._settings, failure) from error
        try:
            upload(options)
        except (BotoCoreError, ClientError) as error:
            raise bucket_error(self._settings, s3_failure(error)) from error
        log.info(
            "uploading without access lists: the bucket itself must be public",
            extra={"bucket": self._settings.bucket, "reason": str(failure)},
        )
        self._with_acl = False

    def _upload_file(self, path: Path, key: str, options: dict[str, str]) -> None:
        from boto3.s3.transfer import TransferConfig

        self._abort_parts(key)
        config = TransferConfig(
            multipart_threshold=self._part_bytes,
            multipart_chunksize=self._part_bytes,
            max_concurrency=PARTS_AT_A_TIME,
        )
        with closing(s3_client(self._settings, PART_SECONDS, ATTEMPTS)) as client, path.open("rb") as file:
            client.upload_fileobj(file, self._settings.bucket, key, ExtraArgs=options, Config=config)

    def _abort_parts(self, key: str) -> None:
        """Parts of an upload whose process was killed are paid for and seen by nobody. Not every service lists them."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket = self._settings.bucket
        try:
            found = self._client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", ())
            for upload in found:
                self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except (BotoCoreError, ClientError) as error:
            log.info("parts of an earlier upload were not looked for: %s", s3_failure(error))


def bucket_error(settings: S3Settings, failure: TransferFailure) -> QuickstartError:
    """A failure of the bucket as what to correct."""
    bucket = settings.bucket
    where = settings.endpoint_url or "Amazon S3"
    if failure.detail == "RequestTimeTooSkewed":
        return UsageError(f"{where} finds that this machine's clock is wrong: set it, and run this again")
    match failure.problem:
        case TransferProblem.NO_BUCKET:
            return SettingsError(
                f"there is no bucket {bucket!r} at {where}; create it, or correct S3_BUCKET or S3_ENDPOINT_URL"
            )
        case TransferProblem.CREDENTIALS:
            return SettingsError(
                f"{where} does not accept the credentials ({failure.detail}); "
                "correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"
            )
        case TransferProblem.PERMISSION:
            return SettingsError(
                f"the credentials may not write to the bucket {bucket!r} ({failure.detail}); "
                "allow S3_ACCESS_KEY_ID to put objects there"
            )
        case TransferProblem.UNREACHABLE:
            return UnreachableError(f"no answer from {where} ({failure.detail}); check S3_ENDPOINT_URL")
        case TransferProblem.BUSY:
            return BusyError(f"{where} is busy ({failure.detail}); try again later", failure.retry_after_seconds)
        case TransferProblem.UNMAPPED:
            return UnmappedFailure(f"an unknown failure of {where}: {failure.detail}")
    return NetworkError(f"{where} failed for the bucket {bucket!r}: {failure}")


def s3_client(settings: S3Settings, read_seconds: float = READ_SECONDS, attempts: int = 1) -> "S3Client":
    """A client of the bucket's service. Loads boto3.

    It tries nothing again by itself unless told to: a second try of a conditional write that was taken is refused.
    """
    import boto3
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.INFO)  # its debug lines show signed headers

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        # Buckets as paths work on every endpoint of one's own; Amazon wants them as hosts.
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        # Checksum trailers are Amazon's; other services refuse them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        region_name="auto" if settings.endpoint_url else "us-east-1",
    )
    return session.client("s3", endpoint_url=settings.endpoint_url, config=config)
