"""The store of the wallet's lease in the bucket that windows are published in: S3's conditional writes.

`If-None-Match: *` and `If-Match: ETag` of `PutObject` are known to Amazon S3, R2 and MinIO. A service that takes no
notice of them would let two processes sign: that is found out first, with an object of its own.
"""

from typing import TYPE_CHECKING

from quickstart.chain.lease import FileLease, Holder, Lease
from quickstart.chain.outcomes import TransferProblem, s3_failure
from quickstart.chain.shared_lease import AllOf, Record, SharedLease
from quickstart.errors import NetworkError, SettingsError
from quickstart.settings import S3Settings
from quickstart.submission.s3_storage import bucket_error, s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from quickstart.submission.premises import Places

READ_SECONDS = 5.0
LEASES = "leases/"
PROBE = f"{LEASES}probe"

_REFUSED = frozenset({"PreconditionFailed", "412"})
_CONFLICT = frozenset({"ConditionalRequestConflict", "409"})


class S3LeaseStore:
    """A `ConditionalStore`. Versions are entity tags, quotes included: they differ because every value does.

    Raises:
        SettingsError: bucket or credentials are not right, or the service knows no conditional writes.
        NetworkError: the outcome is not known.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client: S3Client = s3_client(settings, READ_SECONDS)
        self._checked = False
        self._forbidden = False  # the last reading was

    def close(self) -> None:
        self._client.close()

    def read(self, key: str) -> tuple[bytes, str] | None:
        found = self._get(key)
        return None if found is None else found[:2]

    def written(self, key: str) -> tuple[bytes, int] | None:
        """The value, and when it was written by the bucket's clock, ms since 1970."""
        found = self._get(key)
        return None if found is None else (found[0], found[2])

    def _get(self, key: str) -> tuple[bytes, str, int] | None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._client.get_object(Bucket=self._settings.bucket, Key=key)
            value = found["Body"].read()
            self._forbidden = False
            return value, found["ETag"], int(found["LastModified"].timestamp() * 1000)
        except (BotoCoreError, ClientError) as error:
            failure = s3_failure(error)
            # Without the right to list, a missing object reads as forbidden; the write will tell.
            self._forbidden = failure.problem is TransferProblem.PERMISSION
            if self._forbidden or failure.problem is TransferProblem.NOT_FOUND:
                return None
            raise self._failed(error) from error

    def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
        if not self._checked:
            self._check()
        written = self._write(key, value, version)
        if written is None and version is None and self._forbidden:
            raise SettingsError(
                f"the credentials may not read {key} in the bucket {self._settings.bucket!r}, which says who signs for "
                "this wallet; allow S3_ACCESS_KEY_ID to get objects there"
            )
        return written

    def _check(self) -> None:
        """An object that exists must not be created again."""
        self._write(PROBE, b"conditional writes", None)
        if self._write(PROBE, b"conditional writes", None) is not None:
            where = self._settings.endpoint_url or "Amazon S3"
            raise SettingsError(
                f"{where} takes no notice of conditional writes, so two machines could sign for one wallet; "
                "use a service that knows If-None-Match (Amazon S3, R2, MinIO) as S3_ENDPOINT_URL"
            )
        self._checked = True

    def _write(self, key: str, value: bytes, version: str | None) -> str | None:
        from botocore.exceptions import BotoCoreError, ClientError

        bucket = self._settings.bucket
        try:
            if version is None:
                return self._client.put_object(Bucket=bucket, Key=key, Body=value, IfNoneMatch="*")["ETag"]
            return self._client.put_object(Bucket=bucket, Key=key, Body=value, IfMatch=version)["ETag"]
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            # A record that was deleted by hand is not there to match either.
            if code in _REFUSED or (version is not None and code in ("NoSuchKey", "404")):
                return None
            if code in _CONFLICT:
                raise NetworkError("the bucket took another write at the same moment") from error
            raise self._failed(error) from error
        except BotoCoreError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        """The caller's settings are told as such; all else leaves the outcome open."""
        failure = s3_failure(error)
        told = bucket_error(self._settings, failure)
        return told if isinstance(told, SettingsError) else NetworkError(str(told))


def bucket_lease(settings: S3Settings, places: "Places", command: str) -> Lease:
    """The file's lease, then the bucket's: one process on this machine, one machine of all.

    The object is named by chain and wallet, so everybody who signs for that wallet with that bucket meets there.
    """
    store = S3LeaseStore(settings)
    key = lease_key(places)
    return AllOf(FileLease(places.lease, command), SharedLease(store, key, command, close=store.close))


def bucket_holder(settings: S3Settings, places: "Places") -> tuple[Holder, int] | None:
    """Who holds the bucket's lease, if anybody does, and when it was last renewed, ms since 1970; takes nothing.

    Raises:
        SettingsError, NetworkError: the bucket does not tell.
    """
    store = S3LeaseStore(settings)
    try:
        found = store.written(lease_key(places))
    finally:
        store.close()
    holder = None if found is None else Record.decode(found[0]).holder
    return None if found is None or holder is None else (holder, found[1])


def lease_key(places: "Places") -> str:
    """The object that a wallet's lease on one chain is; it stays when the lease is given back."""
    return f"{LEASES}{places.root.parent.name}/{places.root.name}"
