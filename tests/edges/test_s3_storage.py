"""The bucket: uploads once, public, with and without access lists; every error names what to correct."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import httpx
import pytest
from loopback import Answer, Seen, before
from moto.server import ThreadedMotoServer

from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.errors import EXIT_USAGE, NetworkError, QuickstartError, SettingsError, UnreachableError
from quickstart.settings import S3Settings
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.storage import Publisher, object_key, public_client

DATA = b"a window of the bucket. " * 42
CHECKSUM = blake2b_256(DATA)
SECRET = "the-SECRET-itself"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto: str) -> Iterator[str]:
    """An empty bucket's name."""
    httpx.post(f"{moto}/moto-api/reset", trust_env=False)
    client = admin(moto)
    client.create_bucket(Bucket="windows")
    yield "windows"
    client.close()


def admin(endpoint: str):  # type: ignore[no-untyped-def]
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
    )


def settings(endpoint: str, bucket: str, public: str | None = None) -> S3Settings:
    return S3Settings(bucket, "key-id", SECRET, endpoint, f"{public or endpoint}/{bucket}")


def uploads(seen: list[Seen]) -> list[Seen]:
    return [request for request in seen if request.method == "PUT"]


def is_public(endpoint: str, bucket: str) -> bool:
    client = admin(endpoint)
    grants = client.get_object_acl(Bucket=bucket, Key=object_key(CHECKSUM))["Grants"]
    client.close()
    return any(g["Grantee"].get("URI", "").endswith("AllUsers") and g["Permission"] == "READ" for g in grants)


def test_a_window_is_published_once_and_anybody_reads_it(moto: str, bucket: str) -> None:
    with before(moto, lambda _: None) as front, public_client() as client:
        storage = S3Storage(settings(front.url, bucket))
        manifest = Publisher(storage, client).publish(DATA, CHECKSUM)
        assert manifest.url == f"{front.url}/{bucket}/windows/{CHECKSUM.hex()}"
        reads = [request for request in front.seen if request.method == "GET"]
        assert reads and all("authorization" not in request.headers for request in reads)
        assert is_public(moto, bucket)
        storage.put(DATA, CHECKSUM)
        again = S3Storage(settings(front.url, bucket))
        again.put(DATA, CHECKSUM)
        assert len(uploads(front.seen)) == 1
        storage.close()
        again.close()
    reply = httpx.get(f"{moto}/{bucket}/{object_key(CHECKSUM)}", trust_env=False)
    assert reply.content == DATA
    assert reply.headers["content-type"] == "application/octet-stream"
    assert "immutable" in reply.headers["cache-control"]


def test_an_object_of_another_size_is_replaced(moto: str, bucket: str) -> None:
    client = admin(moto)
    client.put_object(Bucket=bucket, Key=object_key(CHECKSUM), Body=DATA[:-1])
    storage = S3Storage(settings(moto, bucket))
    storage.put(DATA, CHECKSUM)
    assert client.get_object(Bucket=bucket, Key=object_key(CHECKSUM))["Body"].read() == DATA
    storage.close()
    client.close()


def xml(status: int, code: str) -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


@pytest.mark.parametrize(
    "refusal", [xml(400, "AccessControlListNotSupported"), xml(501, "NotImplemented"), xml(403, "AccessDenied")]
)
def test_a_bucket_without_access_lists(moto: str, bucket: str, refusal: Answer) -> None:
    with before(moto, lambda seen: refusal if "x-amz-acl" in seen.headers else None) as front:
        storage = S3Storage(settings(front.url, bucket))
        for number in range(3):
            data = DATA + bytes([number])
            storage.put(data, blake2b_256(data))
        tried = ["x-amz-acl" in request.headers for request in uploads(front.seen)]
        storage.close()
    assert tried == [True, False, False, False]


def test_a_known_service_without_access_lists_is_not_asked() -> None:
    storage = S3Storage(settings("https://account.r2.cloudflarestorage.com", "windows", "https://data.example.org"))
    assert not storage._with_acl
    assert storage.public_url(CHECKSUM) == f"https://data.example.org/windows/windows/{CHECKSUM.hex()}"
    storage.close()


def test_a_busy_service_is_tried_again(moto: str, bucket: str) -> None:
    refusals = [xml(503, "SlowDown")]
    with before(moto, lambda seen: refusals.pop() if refusals and seen.method == "PUT" else None) as front:
        storage = S3Storage(settings(front.url, bucket))
        storage.put(DATA, CHECKSUM)
        assert len(uploads(front.seen)) == 2
        storage.close()


def test_without_the_right_to_list_uploads_still_work(moto: str, bucket: str) -> None:
    with before(moto, lambda seen: Answer(403) if seen.method == "HEAD" else None) as front:
        storage = S3Storage(settings(front.url, bucket))
        storage.put(DATA, CHECKSUM)
        storage.close()
    assert httpx.get(f"{moto}/{bucket}/{object_key(CHECKSUM)}", trust_env=False).content == DATA


def test_threads_share_one_storage(moto: str, bucket: str) -> None:
    storage = S3Storage(settings(moto, bucket))
    windows = [number.to_bytes(2, "big") * 512 for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(lambda data: storage.put(data, blake2b_256(data)), windows))
    assert len(set(urls)) == 24
    storage.close()


PART = 5 * 1024 * 1024
"""The smallest part that a bucket takes, but for the last."""


def test_a_file_goes_up_in_parts_each_tried_again_and_is_read_back_whole_and_in_pieces(
    moto: str, bucket: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (2 * PART // 256) + b"the rest"
    (path := tmp_path / "weights").write_bytes(content)
    checksum = blake2b_256(content)
    refusals = [xml(503, "SlowDown")]
    client = admin(moto)
    left = client.create_multipart_upload(Bucket=bucket, Key=object_key(checksum))  # of a process that was killed
    client.create_multipart_upload(Bucket=bucket, Key="of-somebody-else")
    with before(moto, lambda seen: refusals.pop() if refusals and "partNumber=2" in seen.path else None) as front:
        storage = S3Storage(settings(front.url, bucket), part_bytes=PART)
        with public_client() as reader:
            manifest = Publisher(storage, reader).publish_file(path, checksum)
        parts = sorted(re.findall(r"partNumber=(\d)", " ".join(request.path for request in uploads(front.seen))))
        assert parts == ["1", "2", "2", "3"]
        pieces = [request.headers["range"] for request in front.seen if "range" in request.headers]
        assert pieces == [f"bytes={len(content) - PART}-{len(content) - 1}"]
        storage.put_file(path, checksum)
        assert len(uploads(front.seen)) == 4
        storage.close()
    assert manifest == Manifest(f"{front.url}/{bucket}/{object_key(checksum)}", checksum, len(content))
    unfinished = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [upload["Key"] for upload in unfinished] == ["of-somebody-else"], left["UploadId"]
    client.close()


def test_a_part_that_fails_for_good_leaves_nothing_behind(moto: str, bucket: str, tmp_path: Path) -> None:
    (path := tmp_path / "weights").write_bytes(content := bytes(2 * PART + 1))
    checksum = blake2b_256(content)
    with before(moto, lambda seen: xml(403, "AccessDenied") if "partNumber=2" in seen.path else None) as front:
        storage = S3Storage(settings(front.url, bucket), part_bytes=PART)
        with pytest.raises(SettingsError, match="may not write"):
            storage.put_file(path, checksum)
        storage.close()
    client = admin(moto)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert client.list_objects_v2(Bucket=bucket).get("Contents", []) == []
    client.close()


def failure(endpoint: str, bucket: str) -> QuickstartError:
    storage = S3Storage(settings(endpoint, bucket))
    with pytest.raises(QuickstartError) as caught:
        storage.put(DATA, CHECKSUM)
    storage.close()
    message = str(caught.value)
    assert SECRET not in message and "key-id" not in message and "\n" not in message
    return caught.value


def test_a_bucket_that_is_not_there(moto: str, bucket: str) -> None:
    error = failure(moto, "absent")
    assert isinstance(error, SettingsError) and error.exit_code == EXIT_USAGE
    assert "no bucket 'absent'" in str(error) and "S3_BUCKET" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (xml(403, "InvalidAccessKeyId"), SettingsError, "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"),
        (xml(403, "SignatureDoesNotMatch"), SettingsError, "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"),
        (xml(403, "AccessDenied"), SettingsError, "may not write to the bucket 'windows'"),
        (xml(400, "EntityTooLarge"), NetworkError, "refused"),
        (xml(418, "Teapot"), NetworkError, "Teapot, HTTP 418"),
    ],
)
def test_refusals_name_what_to_correct(
    moto: str, bucket: str, answer: Answer, kind: type[QuickstartError], said: str
) -> None:
    with before(moto, lambda seen: answer if seen.method == "PUT" else None) as front:
        error = failure(front.url, bucket)
    assert type(error) is kind
    assert said in str(error)


def test_an_endpoint_that_does_not_answer() -> None:
    error = failure("http://127.0.0.1:1", "windows")
    assert isinstance(error, UnreachableError)
    assert "http://127.0.0.1:1" in str(error) and "S3_ENDPOINT_URL" in str(error)


def test_a_public_host_that_limits_reads_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    for public, told in (("https://pub-0.r2.dev", 1), ("https://data.example.org", 0)):
        caplog.clear()
        S3Storage(S3Settings("b", "key-id", SECRET, "http://127.0.0.1:1", public)).close()
        assert len([r for r in caplog.records if "r2.dev" in r.getMessage()]) == told
