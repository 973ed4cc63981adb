"""The lease in a bucket: leases of several machines before one S3 server, and a service that ignores conditions."""

import time
from collections.abc import Iterator

import boto3
import pytest
from loopback import Answer, Seen, serving
from moto.server import ThreadedMotoServer

from quickstart.chain.shared_lease import SharedLease
from quickstart.errors import HeldElsewhereError, LeaseHeldError, NetworkError, SettingsError
from quickstart.settings import S3Settings
from quickstart.submission.premises import Places
from quickstart.submission.s3_lease import S3LeaseStore, bucket_holder, bucket_lease

KEY = "leases/chain/wallet"


def settings(endpoint: str, bucket: str = "windows") -> S3Settings:
    return S3Settings(bucket, "key-id", "secret", endpoint, f"{endpoint}/{bucket}")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str) -> Iterator[S3LeaseStore]:
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="id", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket="windows")
    for found in client.list_objects_v2(Bucket="windows").get("Contents", []):
        client.delete_object(Bucket="windows", Key=found["Key"])
    client.close()
    made = S3LeaseStore(settings(endpoint))
    yield made
    made.close()


def test_a_write_succeeds_only_on_what_was_read(store: S3LeaseStore) -> None:
    assert store.read(KEY) is None
    assert store.write_if(KEY, b"too early", '"a-version-that-never-was"') is None
    first = store.write_if(KEY, b"one", None)
    assert first is not None
    assert store.read(KEY) == (b"one", first)
    assert store.write_if(KEY, b"other", None) is None
    second = store.write_if(KEY, b"two", first)
    assert second is not None and second != first
    assert store.write_if(KEY, b"three", first) is None
    assert store.read(KEY) == (b"two", second)


def test_two_leases_of_one_bucket(store: S3LeaseStore, endpoint: str) -> None:
    other = S3LeaseStore(settings(endpoint))
    quick = {"ttl_seconds": 4.0, "renew_seconds": 0.1}
    with SharedLease(store, KEY, "cycle on Modal", **quick) as first:
        with pytest.raises(HeldElsewhereError, match="`cycle on Modal`"):
            SharedLease(other, KEY, "submit", **quick).__enter__()
        assert first.held()
    with SharedLease(other, KEY, "submit", close=other.close, **quick) as second:
        assert second.held() and not first.held()


def test_a_machine_s_second_process_is_refused_by_the_file_and_others_by_the_bucket(
    store: S3LeaseStore, endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, there = (Places(tmp_path_factory.mktemp("state") / "chain" / "wallet") for _ in range(2))
    with bucket_lease(settings(endpoint), here, "submit") as first:
        with pytest.raises(LeaseHeldError) as refused:
            bucket_lease(settings(endpoint), here, "claim").__enter__()
        assert not isinstance(refused.value, HeldElsewhereError), "a request can be left for it in its folder"
        with pytest.raises(HeldElsewhereError):
            bucket_lease(settings(endpoint), there, "claim").__enter__()
        assert first.held()
    assert bucket_holder(settings(endpoint), there) is None
    with bucket_lease(settings(endpoint), there, "claim") as next_one:
        assert next_one.held()
        found = bucket_holder(settings(endpoint), here)
        assert found is not None
        assert found[0].command == "claim"
        assert abs(found[1] - time.time() * 1000) < 60_000


def test_a_service_without_conditional_writes_is_refused() -> None:
    with serving(lambda seen, body: Answer(200, b"", {"ETag": '"same"'})) as host:
        store = S3LeaseStore(settings(host.url))
        with pytest.raises(SettingsError, match=r"conditional writes.*S3_ENDPOINT_URL"):
            store.write_if(KEY, b"mine", None)
        assert not [seen for seen in host.seen if seen.path.endswith(KEY)], "nothing was written under the key"
        store.close()


def test_a_dead_service_leaves_the_outcome_open_and_a_missing_bucket_is_told(endpoint: str) -> None:
    dead, none = S3LeaseStore(settings("http://127.0.0.1:1")), S3LeaseStore(settings(endpoint, "no-such-bucket"))
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:1"):
        dead.read(KEY)
    with pytest.raises(SettingsError, match="no-such-bucket"):
        none.write_if(KEY, b"", None)
    dead.close()
    none.close()


def test_a_lease_that_may_be_written_but_not_read_is_told_of() -> None:
    """Else it would be asked for again and again, since whoever may not read it cannot know who holds it."""
    written: set[str] = set()

    def answer(seen: Seen, body: bytes) -> Answer:
        path = seen.path.partition("?")[0]
        if seen.method == "GET":
            return Answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        if path in written:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
        written.add(path)
        return Answer(200, b"", {"ETag": f'"{len(written)}"'})

    with serving(answer) as host:
        stores = [S3LeaseStore(settings(host.url)) for _ in range(2)]
        with SharedLease(stores[0], KEY, "cycle on Modal") as first:
            assert first.held()
            with pytest.raises(SettingsError, match=r"may not read leases/chain/wallet.*S3_ACCESS_KEY_ID"):
                SharedLease(stores[1], KEY, "submit").__enter__()
            assert len(host.seen) < 20
        for store in stores:
            store.close()
