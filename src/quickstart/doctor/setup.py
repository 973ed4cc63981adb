"""The env file, the key in it, and the installed SDK: what can be told without asking anybody."""

from collections.abc import Sequence
from pathlib import Path

from quickstart.alerts.channels import channels_of
from quickstart.chain.addresses import is_loopback
from quickstart.chain.ids import format_id
from quickstart.chain.versions import explain, installed_sdk, unknown_versions
from quickstart.doctor.findings import Finding, error, not_checked, ok, warning
from quickstart.doctor.fixes import MAKE_ENV_FILE, MAKE_PRIVATE
from quickstart.doctor.surroundings import Surroundings
from quickstart.errors import SettingsError
from quickstart.settings import holds_secrets


async def check_settings(at: Surroundings) -> Sequence[Finding]:
    """Whether the env file is there, well-formed, and nobody else's to read."""
    file = at.env_file
    found: list[Finding] = []
    if at.settings is None:
        found.append(error("settings", at.trouble, f"correct {file}; README: Settings"))
    if not file.exists():
        told = f"there is no {file} here; the settings are those of the environment"
        found.append(warning("settings", told, f"`uv run doctor --fix` makes {file} to be filled in", MAKE_ENV_FILE))
    elif _is_exposed(file):
        told = f"{file} holds secrets, and others on this machine can read it"
        found.append(error("settings", told, f"`chmod 600 {file}`, or `uv run doctor --fix`", MAKE_PRIVATE))
    return found or [ok("settings", f"{file} is well-formed, and only its owner reads it")]


def _is_exposed(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o077) and holds_secrets(file)


async def check_key(at: Surroundings) -> Sequence[Finding]:
    """Whether there is a key of a known format; its address."""
    if at.settings is None:
        return [not_checked("key", "the settings are malformed", f"correct {at.env_file}")]
    wallet = at.wallet
    if wallet is None:
        return [error("key", "SOMA_SECRET_KEY is not set", "`uv run wallet new`, or `uv run wallet import`")]
    return [ok("key", f"of a known format; its address is {format_id(wallet.address)}")]


async def check_alerts(at: Surroundings) -> Sequence[Finding]:
    """Whether anybody would hear of what needs a person."""
    if at.settings is None:
        return [not_checked("alerts", "the settings are malformed", f"correct {at.env_file}")]
    if is_loopback(at.node.rpc_url) and not at.on_modal:
        return [ok("alerts", "none are needed with a node of this machine")]
    try:
        channels = channels_of(at.settings)
    except SettingsError as trouble:
        return [error("alerts", str(trouble), f"set it in {at.env_file}; README: Settings")]
    if not channels:
        told = "no channel is set: nobody hears of low funds, an unreadable upload, or a run that did not start"
        mending = "set QUICKSTART_ALERT_WEBHOOK or QUICKSTART_ALERT_MAIL_TO, then `uv run alerts test`"
        return [warning("alerts", told, mending)]
    return [ok("alerts", "a channel is set; `uv run alerts test` tries it")]


async def check_sdk(at: Surroundings) -> Sequence[Finding]:
    """Whether the installed SDK is one that this program may sign with."""
    accepted = at.settings.accepted_versions if at.settings else ()
    sdk = installed_sdk()
    if withheld := unknown_versions(None, None, sdk, accepted):
        return [error("sdk", explain(withheld), "`uv sync` installs the SDK that this program knows")]
    if unknown_versions(None, None, sdk):
        return [warning("sdk", f"soma-sdk {sdk} is unknown, and signed with all the same", "update this program")]
    return [ok("sdk", f"soma-sdk {sdk}")]
