"""`create-secrets`: what `.env` says becomes three secrets on Modal. Names are printed, values never."""

import argparse
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from quickstart.alerts.channels import channels_of
from quickstart.cli.rendering import print_dry_action, print_json
from quickstart.data.sources import is_of_this_machine
from quickstart.errors import EXIT_DONE
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.names import DASHBOARD_SECRET, DATA_SECRET, SECRETS
from quickstart.settings import Settings, load_settings, publishing_names, settings_table

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_NAME = "SOMA_SECRET_KEY"
DATA_NAMES = ("HF_TOKEN", "HF_ENDPOINT", "QUICKSTART_SWH_ENDPOINT")

PASSWORD_NAME = "QUICKSTART_DASHBOARD_PASSWORD"
DASHBOARD_NAMES = (PASSWORD_NAME, "QUICKSTART_RPC_URL", "QUICKSTART_GPU")

SOURCE_NAME = "QUICKSTART_SOURCE"
OF_THIS_MACHINE = frozenset({"QUICKSTART_STATE"})
"""Folders of the machine that `.env` lies on; they mean nothing in a container, and nor does a source that is one."""


WITHOUT = {
    DATA_SECRET: "empty (HF_TOKEN is not set: data that asks for no token is used)",
    DASHBOARD_SECRET: f"empty ({PASSWORD_NAME} is not set: no dashboard is deployed)",
}


def run_create_secrets(arguments: argparse.Namespace) -> int:
    """Checks everything, then creates or updates the secrets.

    Raises:
        SettingsError: something in `.env` is missing or malformed (all of it is named), or Modal knows no token.
    """
    settings = load_settings(KEY_NAME, *publishing_names())
    channels_of(settings)  # one that is set in part would be found on Modal only, by what has nobody to tell
    values = secret_values(settings)
    wanted = {
        SECRETS: {name: value for name, value in values.items() if name != PASSWORD_NAME},
        DATA_SECRET: {name: values[name] for name in DATA_NAMES},
        DASHBOARD_SECRET: {name: values[name] for name in DASHBOARD_NAMES},
    }
    named = {name: sorted(key for key, value in content.items() if value) for name, content in wanted.items()}
    if arguments.dry_run:
        said = "; ".join(f"would push {name}: {', '.join(keys) or 'empty'}" for name, keys in named.items())
        print_dry_action({"would_push": named}, said, as_json=arguments.json)
        return EXIT_DONE
    with modal_errors():
        for name, content in wanted.items():
            push(name, content)
    document = {"secrets": named}
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    for name, keys in document["secrets"].items():
        print(f"{name:<14} {', '.join(keys) or WITHOUT[name]}")
    print("containers that start from now on read these values; run `uv run deploy` next")
    return EXIT_DONE


def secret_values(settings: Settings) -> "Mapping[str, str]":
    """Every variable that a container may want: what was set, and empty for what was not.

    Empty counts as not set everywhere. A variable that `.env` no longer names must not live on in a secret, and
    Modal's update of a secret takes nothing away.
    """
    values: dict[str, str] = {}
    for row in settings_table():
        if row.name not in OF_THIS_MACHINE:
            is_set = row.attribute in settings.model_fields_set
            if row.name == SOURCE_NAME and settings.source and is_of_this_machine(settings.source):
                is_set = False
            values[row.name] = _text(getattr(settings, row.attribute)) if is_set else ""
    return values


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case str() | int() | float() | Decimal() | Path():
            return str(value)
    raise TypeError(f"a setting of type {type(value).__name__} has no text")


def push(name: str, content: "Mapping[str, str]") -> None:
    """Makes a secret hold `content`. Creating one that exists changes nothing on Modal, so it is updated too."""
    import modal

    modal.Secret.objects.create(name, dict(content), allow_existing=True)
    modal.Secret.from_name(name).update(dict(content))
