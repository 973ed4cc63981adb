"""Settings: one table, every problem named at once, no secret ever shown."""

import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.errors import EXIT_USAGE, SettingsError
from quickstart.settings import (
    Settings,
    env_example,
    load_settings,
    markdown_table,
    settings_table,
)

ROOT = Path(__file__).resolve().parents[2]
KEY = "11" * 32
PROMISED = (
    "SOMA_SECRET_KEY",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "S3_BUCKET",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "S3_ENDPOINT_URL",
    "S3_PUBLIC_URL",
)
BUCKET = {"S3_BUCKET": "windows", "S3_ACCESS_KEY_ID": "key-id-SECRET", "S3_SECRET_ACCESS_KEY": "key-SECRET"}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(tmp_path)


def write_env(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def problem(*required: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(*required)
    assert caught.value.exit_code == EXIT_USAGE
    message = str(caught.value)
    assert "\n" not in message
    assert "SECRET" not in message.replace("SOMA_SECRET_KEY", "").replace("S3_SECRET_ACCESS_KEY", "")
    assert "SECRET-" not in "".join(traceback.format_exception(caught.value))
    return message


def test_nothing_set_is_fine() -> None:
    settings = load_settings()
    assert settings.lanes == 8
    assert settings.secret_key is None and settings.s3 is None and settings.rpc_url is None
    assert settings.state.is_absolute()


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(f"SOMA_SECRET_KEY='{KEY}'\nexport QUICKSTART_LANES=3\nQUICKSTART_RPC_URL=http://file:1\n# x\n\nOTHER=y\n")
    monkeypatch.setenv("QUICKSTART_RPC_URL", "http://127.0.0.1:9000/")
    settings = load_settings("SOMA_SECRET_KEY")
    assert settings.secret_key is not None and settings.secret_key.get_secret_value() == KEY
    assert settings.lanes == 3
    assert settings.rpc_url == "http://127.0.0.1:9000"


def test_the_example_copied_as_it_is_sets_nothing() -> None:
    write_env(env_example())
    assert load_settings() == Settings()
    assert "missing: SOMA_SECRET_KEY, HF_TOKEN;" in problem("SOMA_SECRET_KEY", "HF_TOKEN")


def test_all_that_is_missing_is_named_at_once() -> None:
    message = problem("SOMA_SECRET_KEY", "S3_BUCKET", "S3_PUBLIC_URL")
    assert message.startswith("missing: SOMA_SECRET_KEY, S3_BUCKET, S3_PUBLIC_URL;")
    assert "copy .env.example to .env" in message


def test_what_is_malformed_and_what_is_missing_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMA_SECRET_KEY", "SECRET-" + "0" * 60)
    monkeypatch.setenv("S3_ENDPOINT_URL", "my-SECRET-host")
    monkeypatch.setenv("QUICKSTART_LANES", "SECRET-many")
    write_env("HF_TOKEN=hf_SECRET\n")
    message = problem("SOMA_SECRET_KEY", "S3_BUCKET", "HF_TOKEN")
    assert message.startswith("missing: S3_BUCKET; ")
    for name in ("SOMA_SECRET_KEY", "S3_ENDPOINT_URL", "QUICKSTART_LANES"):
        assert f"{name} is malformed: " in message
    assert "HF_TOKEN" not in message


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SOMA_SECRET_KEY", "11" * 31, "62 hexadecimal digits"),
        ("S3_ENDPOINT_URL", "localhost:9000", "begins with http:// or https://"),
        ("S3_ENDPOINT_URL", "https:///path", "begins with http:// or https://"),
        ("S3_PUBLIC_URL", "ftp://host/x", "begins with http:// or https://"),
        ("S3_PUBLIC_URL", "http://h:99999", "begins with http:// or https://"),
        ("QUICKSTART_RPC_URL", "http://[half", "begins with http:// or https://"),
        ("QUICKSTART_RPC_URL", "http://a b", "begins with http:// or https://"),
        ("QUICKSTART_RPC_URL", "http://user:SECRET@host", "a URL with a user or password"),
        ("S3_BUCKET", "s3://windows", "a name only"),
        ("QUICKSTART_DASHBOARD_PASSWORD", "elevenSECRE", "12 characters or more"),
        ("QUICKSTART_LANES", "0", "greater than or equal to 1"),
        ("QUICKSTART_LANES", "65", "less than or equal to 64"),
        ("QUICKSTART_LANES", "8.5", "integer"),
        ("QUICKSTART_BOND_CAP", "-1", "0 or more"),
        ("QUICKSTART_BOND_CAP", "nan", "finite"),
        ("QUICKSTART_GAS_CAP", "0.0000000001", "at most nine decimals"),
        ("QUICKSTART_GAS_CAP", "much", "decimal"),
    ],
)
def test_malformed_values(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    message = problem()
    assert f"{name} is malformed: " in message and said in message
    assert value not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"QUICKSTART_LANES=3\nSOMA_SECRET_KEY: SECRET-9\n", "malformed in line 2 (expected NAME=value)"),
        (b"HF_TOKEN='SECRET-unfinished\nQUICKSTART_LANES=3\n", "malformed in line 1"),
        (b"HF_TOKEN=\xff\xfe\n", "not a text in UTF-8"),
    ],
)
def test_a_malformed_file_is_named_by_line(content: bytes, said: str) -> None:
    Path(".env").write_bytes(content)
    message = problem()
    assert ".env" in message and said in message


def test_a_folder_in_place_of_the_file() -> None:
    Path(".env").mkdir()
    assert ".env cannot be read" in problem()


def test_money_is_integer_shannons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTART_BOND_CAP", "0.000000001")
    monkeypatch.setenv("QUICKSTART_GAS_CAP", "123456789.123456789")
    settings = load_settings()
    assert (settings.bond_cap_shannons, settings.gas_cap_shannons) == (1, 123_456_789_123_456_789)


def test_a_bucket_of_amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BUCKET.items():
        monkeypatch.setenv(name, value)
    bucket = load_settings().s3
    assert bucket is not None
    assert (bucket.bucket, bucket.access_key_id, bucket.secret_access_key) == tuple(BUCKET.values())
    assert bucket.endpoint_url is None and bucket.public_url == "https://windows.s3.amazonaws.com"
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:5000/")
    bucket = load_settings().s3
    assert bucket is not None and bucket.public_url == "http://127.0.0.1:5000/windows"
    monkeypatch.setenv("S3_PUBLIC_URL", "https://data.example.org/")
    bucket = load_settings().s3
    assert bucket is not None and bucket.public_url == "https://data.example.org"


def test_half_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "windows")
    settings = load_settings()
    with pytest.raises(SettingsError, match="missing: S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY; "):
        _ = settings.s3


def test_r2_needs_its_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BUCKET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("S3_ENDPOINT_URL", "https://account.r2.cloudflarestorage.com")
    settings = load_settings()
    with pytest.raises(SettingsError, match="missing: S3_PUBLIC_URL"):
        _ = settings.s3


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMA_SECRET_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    for name, value in BUCKET.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    shown = f"{settings!r} {settings} {settings.s3!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert KEY not in shown and "SECRET" not in shown
    secret = {row.name for row in settings_table() if row.secret}
    keys = {"SOMA_SECRET_KEY", "HF_TOKEN", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"}
    ours = {"DASHBOARD_PASSWORD", "ALERT_WEBHOOK", "ALERT_SMTP_PASSWORD"}
    assert secret == keys | {f"QUICKSTART_{name}" for name in ours}


@given(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), min_size=8, max_size=60))
def test_no_value_of_a_key_gets_into_a_message(value: str) -> None:
    os.environ["SOMA_SECRET_KEY"] = value
    try:
        load_settings(env_file=None)
    except SettingsError as error:
        assert value.strip() == "" or value not in str(error)
    finally:
        del os.environ["SOMA_SECRET_KEY"]


def test_the_table_has_the_promised_variables_and_ours_are_prefixed() -> None:
    names = [row.name for row in settings_table()]
    assert names[: len(PROMISED)] == list(PROMISED)
    assert all(name.startswith("QUICKSTART_") for name in names[len(PROMISED) :])
    assert all(row.meaning.endswith(".") and "|" not in row.meaning for row in settings_table())


def test_the_example_file_is_made_from_the_table() -> None:
    made = subprocess.run(
        [sys.executable, "scripts/env_example.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == made.stdout == env_example()


def test_the_readme_shows_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    between = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", readme, re.DOTALL)
    assert between is not None, "README.md has no settings table between <!-- settings --> and <!-- /settings -->"
    assert between[1].strip() == markdown_table().strip()


def test_importing_settings_is_cheap() -> None:
    heavy = "[m for m in ('torch', 'modal', 'soma_sdk', 'boto3', 'botocore', 'numpy', 'grpc') if m in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, quickstart.settings; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
