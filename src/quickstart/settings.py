"""Settings: one table of variables, read from the environment and from `.env` in the current folder.

The fields of `Settings` are the table: variable, meaning, default, secret or not. `.env.example` and the
README's table are made from it. Importing this module opens nothing and loads nothing heavy.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.utils import getaddresses
from enum import StrEnum
from functools import cache
from os import environ
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from platformdirs import user_data_path
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from quickstart.chain.addresses import is_loopback
from quickstart.chain.keys import parse_secret_key
from quickstart.data.filter_names import DEFAULT_FILTERS, FILTERS
from quickstart.errors import KeyFormatError, SettingsError
from quickstart.modal_app.prices import GPU_DOLLARS_PER_SECOND
from quickstart.profiles import ENV_FILE, chosen
from quickstart.units import SHANNONS_PER_SOMA

log = logging.getLogger(__name__)

KEY_NAME = "SOMA_SECRET_KEY"
STATE_NAME = "QUICKSTART_STATE"

NO_FILTERS = "none"

LEAST_PASSWORD = 12

_R2_SUFFIX = ".r2.cloudflarestorage.com"
_VERSION = re.compile(r"(?:protocol|architecture|sdk)-[0-9A-Za-z.+]+")
_MORE_THAN_A_SHANNON = Decimal(1) / SHANNONS_PER_SOMA


def _check_key(value: SecretStr) -> SecretStr:
    try:
        parse_secret_key(value.get_secret_value())
    except KeyFormatError as error:
        raise ValueError(str(error)) from None
    return value


def _check_password(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < LEAST_PASSWORD:
        raise ValueError(f"too short to be safe on the open network; it has {LEAST_PASSWORD} characters or more")
    return value


def _check_url(value: str) -> str:
    text = value.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in text):
        raise ValueError("not a URL; it begins with http:// or https:// and a host")
    if parts.username or parts.password:
        raise ValueError("a URL with a user or password in it is not taken")
    return text


def _check_bucket(value: str) -> str:
    if not value or any(not (character.isalnum() or character in "-._") for character in value):
        raise ValueError("not a bucket name; it is a name only, without s3:// and without slashes")
    return value


def _check_soma(value: Decimal) -> Decimal:
    if not value.is_finite() or value < 0 or value % _MORE_THAN_A_SHANNON:
        raise ValueError("not an amount of SOMA; it is 0 or more, with at most nine decimals")
    return value


def _check_gpus(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in GPU_DOLLARS_PER_SECOND]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(GPU_DOLLARS_PER_SECOND)}")
    return ",".join(dict.fromkeys(names))


def _check_versions(value: str) -> str:
    names = [name.strip() for name in value.split(",") if name.strip()]
    if any(not _VERSION.fullmatch(name) for name in names):
        raise ValueError("not versions; they are named like protocol-6,sdk-0.1.16")
    return ",".join(names)


def _check_dollars(value: Decimal) -> Decimal:
    if not value.is_finite() or value < 0:
        raise ValueError("not an amount of dollars; it is 0 or more")
    return value


def _check_filters(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if names == [NO_FILTERS]:
        return value
    if unknown := [name for name in names if name not in FILTERS]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(FILTERS)}; {NO_FILTERS} switches all off")
    return ",".join(dict.fromkeys(names))


class AlertShape(StrEnum):
    """What a webhook is told in; `AUTO`: as its host wants it."""

    AUTO = "auto"
    JSON = "json"
    SLACK = "slack"
    DISCORD = "discord"


def _check_webhook(value: SecretStr) -> SecretStr:
    url = _check_url(value.get_secret_value())
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise ValueError("not safe: the address is a secret, and http sends it open; it begins with https://")
    return SecretStr(url)


def _check_smtp(value: str) -> str:
    text = value.strip().rstrip("/")
    scheme, separator, rest = text.partition("://")
    if scheme not in ("smtp", "smtps") or not separator or "/" in rest:
        raise ValueError("not a mail server; it is named like smtp://host:587 (STARTTLS) or smtps://host:465 (TLS)")
    _check_url(f"https://{rest}")
    return text


def _check_addresses(value: str) -> str:
    addresses = [address for _, address in getaddresses([value])]
    if not addresses or any(not re.fullmatch(r"[^@\s]+@[^@\s]+", address) for address in addresses):
        raise ValueError("not mail addresses; they are named like one@example.org,two@example.org")
    return value


Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Url = Annotated[str, AfterValidator(_check_url)]
Versions = Annotated[str, AfterValidator(_check_versions)]
Soma = Annotated[Decimal, AfterValidator(_check_soma)]


@dataclass(frozen=True, slots=True)
class S3Settings:
    """A bucket and how to reach it. `public_url`: where anybody reads it, without a slash at the end."""

    bucket: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    endpoint_url: str | None
    public_url: str


class Settings(BaseSettings):
    """Everything that can be configured, checked. Secrets show only where `get_secret_value` is called."""

    model_config = SettingsConfigDict(
        case_sensitive=True,  # what else looks for a name looks for it in capitals
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    secret_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = Field(
        default=None,
        validation_alias=KEY_NAME,
        description="The wallet's secret key: 64 hex digits, somaprivkey1..., or base58 or base64.",
    )
    hf_token: SecretStr | None = Field(
        default=None,
        validation_alias="HF_TOKEN",
        description="Token for data sets on the Hugging Face hub that ask for one.",
    )
    hf_endpoint: Url | None = Field(
        default=None,
        validation_alias="HF_ENDPOINT",
        description="Where the hub is; by default https://huggingface.co.",
    )
    s3_bucket: Annotated[str, AfterValidator(_check_bucket)] | None = Field(
        default=None,
        validation_alias="S3_BUCKET",
        description="Bucket that submitted bytes are published in; validators read them there.",
    )
    s3_access_key_id: SecretStr | None = Field(
        default=None, validation_alias="S3_ACCESS_KEY_ID", description="Key id that may write to the bucket."
    )
    s3_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias="S3_SECRET_ACCESS_KEY", description="Secret of that key id."
    )
    s3_endpoint_url: Url | None = Field(
        default=None,
        validation_alias="S3_ENDPOINT_URL",
        description="Endpoint of the S3 service; not needed for Amazon's own.",
    )
    s3_public_url: Url | None = Field(
        default=None,
        validation_alias="S3_PUBLIC_URL",
        description="Where anybody reads the objects; needed for R2, else made from endpoint and bucket.",
    )
    rpc_url: Url | None = Field(
        default=None,
        validation_alias="QUICKSTART_RPC_URL",
        description="Full node to talk to, in place of the chosen network's own.",
    )
    state: Folder = Field(
        default_factory=lambda: user_data_path("soma-quickstart"),
        validation_alias=STATE_NAME,
        description="Folder for bank, ledger and cached weights; by default the user's data folder.",
    )
    source: str | None = Field(
        default=None,
        validation_alias="QUICKSTART_SOURCE",
        description="What windows are cut from: a folder, or a name as for --source; by default Python's own library.",
    )
    swh_endpoint: Url | None = Field(
        default=None,
        validation_alias="QUICKSTART_SWH_ENDPOINT",
        description="Where the Software Heritage archive's bucket is; by default its public address on Amazon S3.",
    )
    filters: Annotated[str, AfterValidator(_check_filters)] = Field(
        default=",".join(DEFAULT_FILTERS),
        validation_alias="QUICKSTART_FILTERS",
        description="Kinds of window left out; also personal (e-mail addresses), or none. Secrets always are.",
    )
    lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        validation_alias="QUICKSTART_LANES",
        description="Transactions in flight at once.",
    )
    windows_per_run: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        validation_alias="QUICKSTART_WINDOWS_PER_RUN",
        description="Windows that one run scores at most.",
    )
    bond_cap: Soma = Field(
        default=Decimal(20),
        validation_alias="QUICKSTART_BOND_CAP",
        description="Most SOMA locked in bonds at any time.",
    )
    gas_cap: Soma = Field(
        default=Decimal(1),
        validation_alias="QUICKSTART_GAS_CAP",
        description="Most SOMA spent on fees in a day.",
    )

    accept_versions: Versions = Field(
        default="",
        validation_alias="QUICKSTART_ACCEPT_VERSIONS",
        description="Versions this program does not know under which it may sign all the same, as it names them.",
    )
    gpu_dollars_per_day: Annotated[Decimal, AfterValidator(_check_dollars)] = Field(
        default=Decimal(5),
        validation_alias="QUICKSTART_GPU_DOLLARS_PER_DAY",
        description="Most dollars a day for GPUs on Modal, estimated; 0 rents none, and matching and claiming go on.",
    )
    gpu: Annotated[str, AfterValidator(_check_gpus)] = Field(
        default="L4",
        validation_alias="QUICKSTART_GPU",
        description="GPU types to rent on Modal, the first that is free is taken. Read when deploying.",
    )
    max_containers: int = Field(
        default=4,
        ge=1,
        le=100,
        validation_alias="QUICKSTART_MAX_CONTAINERS",
        description="GPUs rented on Modal at the same time. Read when deploying.",
    )
    alert_webhook: Annotated[SecretStr, AfterValidator(_check_webhook)] | None = Field(
        default=None,
        validation_alias="QUICKSTART_ALERT_WEBHOOK",
        description="Address that alerts are posted to: of Slack, of Discord, or any that takes JSON.",
    )
    alert_shape: AlertShape = Field(
        default=AlertShape.AUTO,
        validation_alias="QUICKSTART_ALERT_SHAPE",
        description="What the webhook is told in: json, slack or discord; auto knows it by the address.",
    )
    alert_smtp: Annotated[str, AfterValidator(_check_smtp)] | None = Field(
        default=None,
        validation_alias="QUICKSTART_ALERT_SMTP",
        description="Server that sends alerts by mail: smtp://host:587 (STARTTLS) or smtps://host:465 (TLS).",
    )
    alert_smtp_user: str | None = Field(
        default=None, validation_alias="QUICKSTART_ALERT_SMTP_USER", description="Who logs in there."
    )
    alert_smtp_password: SecretStr | None = Field(
        default=None, validation_alias="QUICKSTART_ALERT_SMTP_PASSWORD", description="With this password."
    )
    alert_mail_to: Annotated[str, AfterValidator(_check_addresses)] | None = Field(
        default=None,
        validation_alias="QUICKSTART_ALERT_MAIL_TO",
        description="Mail addresses that alerts go to, with commas between.",
    )
    alert_mail_from: Annotated[str, AfterValidator(_check_addresses)] | None = Field(
        default=None,
        validation_alias="QUICKSTART_ALERT_MAIL_FROM",
        description="Whom their mail is from; by default who logs in.",
    )
    alert_hours: int = Field(
        default=26,
        ge=0,
        le=1_000,
        validation_alias="QUICKSTART_ALERT_HOURS",
        description="Hours without a filled target that make an alert; 0: never.",
    )

    training_dollars_per_day: Annotated[Decimal, AfterValidator(_check_dollars)] = Field(
        default=Decimal(0),
        validation_alias="QUICKSTART_TRAINING_DOLLARS_PER_DAY",
        description="Most dollars a day for training a model on Modal, estimated; 0 trains none by itself.",
    )
    training_steps: int = Field(
        default=1_000,
        ge=1,
        le=10_000_000,
        validation_alias="QUICKSTART_TRAINING_STEPS",
        description="Steps after which what trains by itself publishes a model, if it has become better.",
    )
    training_gpu: Annotated[str, AfterValidator(_check_gpus)] = Field(
        default="H100,A100-80GB",
        validation_alias="QUICKSTART_TRAINING_GPU",
        description="GPU types to train on, the first that is free is taken. Read when deploying.",
    )
    model_stake: Soma = Field(
        default=Decimal(0),
        validation_alias="QUICKSTART_MODEL_STAKE",
        description="SOMA that what trains by itself stakes on a first model; 0 leaves that to `uv run publish`.",
    )
    dashboard_password: Annotated[SecretStr, AfterValidator(_check_password)] | None = Field(
        default=None,
        validation_alias="QUICKSTART_DASHBOARD_PASSWORD",
        description="What a browser must give to see the dashboard; on Modal there is none without it.",
    )

    @property
    def accepted_versions(self) -> tuple[str, ...]:
        """Unknown versions under which a person lets us sign (`chain.versions`)."""
        return tuple(filter(None, self.accept_versions.split(",")))

    @property
    def filter_names(self) -> tuple[str, ...]:
        """The filters that are switched on."""
        return () if self.filters == NO_FILTERS else tuple(self.filters.split(","))

    @property
    def gpus(self) -> tuple[str, ...]:
        """GPU types in the order of preference."""
        return tuple(self.gpu.split(","))

    @property
    def training_gpus(self) -> tuple[str, ...]:
        """GPU types for training in the order of preference."""
        return tuple(self.training_gpu.split(","))

    @property
    def model_stake_shannons(self) -> int:
        return int(self.model_stake * SHANNONS_PER_SOMA)

    @property
    def bond_cap_shannons(self) -> int:
        return int(self.bond_cap * SHANNONS_PER_SOMA)

    @property
    def gas_cap_shannons(self) -> int:
        return int(self.gas_cap * SHANNONS_PER_SOMA)

    @property
    def s3(self) -> S3Settings | None:
        """The bucket, or None when no `S3_BUCKET` is named.

        Raises:
            SettingsError: a bucket is named, but not all that goes with it.
        """
        if self.s3_bucket is None:
            return None
        self.require(*S3_NAMES)
        assert self.s3_access_key_id is not None and self.s3_secret_access_key is not None
        public_url = self.s3_public_url
        if public_url is None:
            host = urlsplit(self.s3_endpoint_url or "").hostname or ""
            if host.endswith(_R2_SUFFIX):
                raise SettingsError("missing: S3_PUBLIC_URL (an R2 bucket is not public at its endpoint); " + remedy())
            public_url = (
                f"{self.s3_endpoint_url}/{self.s3_bucket}"
                if self.s3_endpoint_url
                else f"https://{self.s3_bucket}.s3.amazonaws.com"
            )
        return S3Settings(
            self.s3_bucket,
            self.s3_access_key_id.get_secret_value(),
            self.s3_secret_access_key.get_secret_value(),
            self.s3_endpoint_url,
            public_url,
        )

    def require(self, *names: str) -> None:
        """Checks that the variables `names` are set.

        Raises:
            SettingsError: names every one that is missing, in one line that ends in how to mend it.
        """
        values = {row.name: getattr(self, row.attribute) for row in settings_table()}
        missing = [name for name in names if values[name] is None]
        if missing:
            raise SettingsError(f"missing: {', '.join(missing)}; {remedy()}")


S3_NAMES = ("S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the table. `default` is empty where there is none."""

    name: str
    attribute: str
    meaning: str
    default: str
    secret: bool


def settings_table() -> tuple[SettingRow, ...]:
    """The table: every variable in the order it is shown."""
    rows = []
    for attribute, declared in Settings.model_fields.items():
        default = declared.default if declared.default_factory is None else None
        rows.append(
            SettingRow(
                name=str(declared.validation_alias),
                attribute=attribute,
                meaning=declared.description or "",
                default="" if default is None else str(default),
                secret="SecretStr" in str(declared.annotation),
            )
        )
    return tuple(rows)


def remedy() -> str:
    """Where a variable is set, for a message."""
    file = chosen().env_file
    return f"set it in the environment or in {file} (copy .env.example to {file} and fill it in)"


def load_settings(*required: str, env_file: Path | None = ENV_FILE) -> Settings:
    """Reads the environment, and `env_file` for what is not set there. `.env` stands for the chosen profile's file.

    Raises:
        SettingsError: names every malformed variable and every missing one of `required`, in one line.
    """
    if env_file == ENV_FILE and chosen().name:
        env_file = chosen().env_file
        _refuse_another_wallet(env_file)
        settings = _load(required, env_file)
        return settings.model_copy(update={"state": _state_of_profile(settings.state, env_file)})
    return _load(required, env_file)


def _refuse_another_wallet(env_file: Path) -> None:
    """The environment wins over a file; a key left in it must not sign for a profile that is another wallet's."""
    if not env_file.exists():
        raise SettingsError(
            f"{env_file} is not there: copy .env.example to {env_file} and fill it in, or make it with "
            f"`uv run wallet new --profile {chosen().name}`"
        )
    exported = environ.get(KEY_NAME)
    if exported and exported != _written(env_file).get(KEY_NAME):
        raise SettingsError(
            f"{KEY_NAME} is set in the environment and would be used instead of that of {env_file}: unset it"
        )


def state_folder() -> Path:
    """The chosen profile's state folder, for a program that goes on where other settings are malformed."""
    written = raw_value(STATE_NAME).strip()
    base = Path(written).expanduser() if written else Settings.model_construct().state
    return _state_of_profile(base, chosen().env_file)


def _state_of_profile(state: Path, env_file: Path) -> Path:
    """The folder that the profile's own file names, or a part of the one that all share."""
    own = _written(env_file).get(STATE_NAME) and not environ.get(STATE_NAME)
    return state if own else chosen().state(state)


def _load(required: tuple[str, ...], env_file: Path | None) -> Settings:
    problems: list[str] = []
    if env_file is not None:
        problems += _env_file_problems(env_file)
    settings: Settings | None = None
    malformed: set[str] = set()
    if not problems:
        try:
            options: dict[str, Any] = {"_env_file": env_file}
            settings = Settings(**options)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False, include_input=False):
                name = str(problem["loc"][0])
                malformed.add(name)
                problems.append(f"{name} is malformed: {problem['msg'].removeprefix('Value error, ')}")
    if settings is not None:
        settings.require(*required)
        if env_file is not None:
            _warn_of_readers(env_file)
        return settings
    missing = [name for name in required if name not in malformed and not raw_value(name, env_file)]
    if missing and malformed:
        problems.insert(0, f"missing: {', '.join(missing)}")
    raise SettingsError(f"{'; '.join(problems)}; {remedy()}") from None


def _env_file_problems(env_file: Path) -> Iterator[str]:
    """Why a `.env` cannot be read as one; lines are named by number, since they may hold secrets."""
    if not env_file.exists():
        return
    names = {row.name for row in settings_table()}
    try:
        with env_file.open(encoding="utf-8") as stream:
            for line in parse_stream(stream):
                if line.error:
                    yield f"{env_file} is malformed in line {line.original.line} (expected NAME=value)"
                elif line.key is not None and line.key not in names and line.key.upper() in names:
                    yield f"{env_file} names {line.key} in line {line.original.line}: write {line.key.upper()}"
    except UnicodeDecodeError:
        yield f"{env_file} is not a text in UTF-8"
    except OSError as error:
        yield f"{env_file} cannot be read ({error.strerror})"


def _warn_of_readers(env_file: Path) -> None:
    """Tells, at the level that every command shows, when others on this machine can read secrets in `.env`; once."""
    with suppress(OSError):
        if env_file.stat().st_mode & 0o077 and holds_secrets(env_file):
            _tell_of_readers(env_file.absolute())


def holds_secrets(env_file: Path) -> bool:
    """Whether a secret is set in a file; False for one that cannot be read, which `load_settings` tells of."""
    written = _written(env_file)
    return any(row.secret and written.get(row.name) for row in settings_table())


def _written(env_file: Path) -> dict[str, str | None]:
    """What a file says, as it was written; nothing for one that cannot be read, which `load_settings` tells of."""
    with suppress(OSError, UnicodeDecodeError):
        return dotenv_values(env_file)
    return {}


@cache
def _tell_of_readers(path: Path) -> None:
    log.error("%s holds secrets, and others on this machine can read it: run `chmod 600 %s`", path.name, path)


def raw_value(name: str, env_file: Path | None = ENV_FILE) -> str:
    """A variable as it was written, unchecked: from the environment, else from `env_file`; empty if in neither."""
    if env_file == ENV_FILE:
        env_file = chosen().env_file
    written = {} if env_file is None else _written(env_file)
    return environ.get(name) or written.get(name) or ""


def publishing_names(env_file: Path | None = ENV_FILE) -> tuple[str, ...]:
    """The variables without which nothing can be published; R2 needs one more, which its endpoint tells."""
    host = ""
    with suppress(ValueError):  # no URL at all: `load_settings` says so
        host = urlsplit(raw_value("S3_ENDPOINT_URL", env_file)).hostname or ""
    return (*S3_NAMES, "S3_PUBLIC_URL") if host.endswith(_R2_SUFFIX) else S3_NAMES


def env_example() -> str:
    """Text of `.env.example`."""
    lines = ["# Copy this file to .env and fill in what you need. Empty means: not set."]
    for row in settings_table():
        note = " Secret." if row.secret else ""
        lines += ["", f"# {row.meaning}{note}"]
        lines.append(f"# {row.name}={row.default}" if row.default else f"{row.name}=")
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The README's table of settings."""
    lines = ["| variable | meaning | default | secret |", "| --- | --- | --- | --- |"]
    for row in settings_table():
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {row.meaning} | {default} | {'yes' if row.secret else 'no'} |")
    return "\n".join(lines) + "\n"
