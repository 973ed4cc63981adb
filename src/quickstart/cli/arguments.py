"""Command lines: options, their types, and usage errors in one line. Loads nothing but the standard library."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from quickstart.errors import EXIT_DONE, EXIT_USAGE
from quickstart.units import SHANNONS_PER_SOMA

NO_RIVALRY = {"rivals": None, "rival_poll": None, "fault": None}
"""The embedded network as it is; only `submit` and `devnet` may make it less kind."""

NETWORKS = ("devnet", "localnet")
ENGINES = ("auto", "numpy", "torch")
LOG_LEVELS = ("info", "warning", "error", "critical")
WALLET_ACTIONS = ("new", "import", "show", "sweep", "backup", "restore")
SHELLS = ("bash", "zsh", "fish")

MOST_WINDOWS = 10_000_000
MOST_LANES = 64
MOST_WORKERS = 256
MOST_EPOCHS = 10_000
MOST_HITS = 1_000_000
MOST_SEED = 2**63 - 1
MOST_EPOCH = 2**53


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the whole usage is a `--help` away."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument("--version", action=_Version, help="show versions of program, SDK and protocol")
        self.add_argument("--profile", metavar="NAME", help="use .env.NAME, with a wallet and state of its own")

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message}; `{self.prog} --help` lists what can be given\n")


class _Version(argparse.Action):
    """`--version`: found out when it is asked for, so that no other command pays for it."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        from quickstart.chain.protocol import PARAMETERS
        from quickstart.chain.versions import installed_sdk

        protocols = f"{min(PARAMETERS)} to {max(PARAMETERS)}"
        told = f"quickstart {version('quickstart')}, soma-sdk {installed_sdk()}, protocol {protocols}"
        sys.stdout.write(told + "\n")
        parser.exit(EXIT_DONE)


def submit_parser() -> CommandParser:
    from quickstart.devnet.rivalry import add_rivalry

    parser = CommandParser(
        "submit",
        "Start what is deployed on Modal and follow it; with --local, --network or --rpc-url do it on this machine: "
        "score data, submit what fits, and on a devnet age the epochs and claim.",
    )
    add_network_arguments(parser)
    add = parser.add_argument
    add_source_argument(parser)
    add("--windows", type=whole(1, MOST_WINDOWS), metavar="N", help="new windows to score in this run")
    add("--epochs", type=whole(1, MOST_EPOCHS), default=4, metavar="N", help="epochs of submitting (default 4)")
    add(
        "--max-hits",
        type=whole(1, MOST_HITS),
        metavar="N",
        help="submissions per epoch at most (default: 150 with --network, else no limit)",
    )
    add("--seconds", type=seconds, metavar="S", help="length of an epoch of submitting at most")
    add("--lanes", type=whole(1, MOST_LANES), metavar="K", help="transactions in flight (default 8)")
    add(
        "--workers",
        type=whole(1, MOST_WORKERS),
        metavar="N",
        default=os.cpu_count() or 1,
        help="scoring processes (default: one per core)",
    )
    add("--engine", choices=ENGINES, default="auto", help="what scores (default auto)")
    add(
        "--seed",
        type=whole(0, MOST_SEED),
        metavar="N",
        help="order in which windows are cut (default: the wallet's own), and a new devnet's chain (default 0)",
    )
    add_rivalry(parser)
    add_dry_run_argument(parser, "score and match, and show what would be sent; publish, sign and send nothing")
    add_detach_argument(parser)
    add_output_arguments(parser)
    return parser


def claim_parser() -> CommandParser:
    parser = CommandParser(
        "claim", "Claim everything of ours that is claimable: by what is deployed on Modal, or here."
    )
    add_network_arguments(parser)
    add_dry_run_argument(parser, "show what would be claimed; sign and send nothing")
    add_detach_argument(parser)
    add_output_arguments(parser)
    parser.set_defaults(seed=None)
    return parser


def rebuild_parser() -> CommandParser:
    parser = CommandParser(
        "rebuild",
        "Make the ledger again from the chain and the bucket, with fills that another client made with the same key; "
        "and read what bonds rest on. On Modal, or with --network, --local or --rpc-url on this machine.",
    )
    add_network_arguments(parser)
    add_dry_run_argument(parser, "show what would change; change nothing")
    add_output_arguments(parser)
    parser.set_defaults(seed=0, detach=False)
    return parser


def cleanup_parser() -> CommandParser:
    parser = CommandParser(
        "cleanup",
        "Remove published windows whose targets are claimed, by the ledger on Modal, or with --network, --local or "
        "--rpc-url by this machine's; with --all everything of ours on Modal and in the bucket.",
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--all", action="store_true", help="everything on Modal and in the bucket, after a list and a yes"
    )
    parser.add_argument("--yes", action="store_true", help="with --all: the answer is yes")
    add_dry_run_argument(parser, "show what would be removed; remove nothing")
    add_output_arguments(parser)
    parser.set_defaults(seed=0, detach=False)
    return parser


def status_parser() -> CommandParser:
    parser = CommandParser(
        "status",
        "What your wallets have filled and earned, and whether all is well: from their ledgers, the chain, and Modal, "
        "as far as they answer.",
    )
    add = parser.add_argument
    add("--epoch", type=whole(0, MOST_EPOCH), metavar="N", help="this epoch only")
    add(
        "--csv", action="store_true", help="print a line of money for each wallet and epoch, shannons, and nothing else"
    )
    add("--local", action="store_true", help="ask neither Modal nor a node: what the state folder says")
    add("--rpc-url", metavar="URL", help="the node to ask (also QUICKSTART_RPC_URL)")
    add("--all-profiles", action="store_true", help="the wallets of .env and of every .env.NAME")
    add_state_argument(parser)
    add_output_arguments(parser)
    return parser


def plan_parser() -> CommandParser:
    parser = CommandParser("plan", "What to score and to cut next, by kind of data, and why; needs no network.")
    parser.add_argument("--gpu-seconds", type=seconds, metavar="S", help="plan no more than this (default: all of it)")
    add_state_argument(parser)
    add_output_arguments(parser)
    return parser


def doctor_parser() -> CommandParser:
    parser = CommandParser(
        "doctor",
        "Look at everything that a run rests on, and say what mends what is wrong. Exit code 0, 2 with errors, with "
        "--strict 1 with warnings.",
    )
    parser.add_argument("--rpc-url", metavar="URL", help="full node to look at (also QUICKSTART_RPC_URL)")
    parser.add_argument("--local", action="store_true", help="the loop runs on this machine: leave Modal out")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended without losing or sending anything")
    parser.add_argument("--strict", action="store_true", help="exit code 1 with warnings too")
    add_state_argument(parser)
    add_output_arguments(parser)
    return parser


def logs_parser() -> CommandParser:
    parser = CommandParser("logs", "What the deployment on Modal has said; kept for 30 days, without secrets.")
    add = parser.add_argument
    add("--since", metavar="WHEN", default="1d", help="30m, 6h, 2d ago, or a time like 2026-11-22T18:00 (default 1d)")
    add("--level", choices=LOG_LEVELS, default="info", help="this level and above (default info)")
    add("--grep", metavar="TEXT", help="only what holds these words")
    add("--limit", type=whole(1, 10**6), default=1000, metavar="N", help="the last N of them (default 1000)")
    add_output_arguments(parser)
    return parser


def wallet_parser() -> CommandParser:
    from quickstart.cli.model_arguments import soma

    parser = CommandParser(
        "wallet",
        "The wallet's key: make a new one, take one in (a key or a mnemonic phrase, from a file or typed), show its "
        "address, back it up encrypted, restore it; or sweep what it does not need to a cold address. The key is kept "
        "in .env and never overwritten. The SDK makes no mnemonic phrases: the backup is what there is to keep.",
    )
    add_network_arguments(parser)
    add = parser.add_argument
    add("what", choices=WALLET_ACTIONS, help="what to do")
    add("file", type=Path, nargs="?", metavar="FILE", help="of import, backup and restore")
    add("--key", action="store_true", help="with show: the secret key too")
    add("--to", metavar="ADDRESS", help="with sweep: where to send, 64 hexadecimal digits")
    add("--keep", type=soma, default=SHANNONS_PER_SOMA, metavar="SOMA", help="with sweep: what stays (default 1)")
    add("--passphrase-file", type=Path, metavar="FILE", help="with backup and restore: its first line (default: ask)")
    add("--yes", action="store_true", help="with sweep: do not ask")
    add_dry_run_argument(parser, "with sweep: show what would be sent; sign and send nothing")
    add_output_arguments(parser)
    parser.set_defaults(detach=False, seed=0)
    return parser


def completion_parser() -> CommandParser:
    parser = CommandParser(
        "completion",
        'Print a script that completes commands and options: `eval "$(uv run completion bash)"` in ~/.bashrc, the same '
        "with zsh in ~/.zshrc, `uv run completion fish | source` in config.fish.",
    )
    parser.add_argument("shell", choices=SHELLS, help="whose script")
    parser.set_defaults(verbose=False)
    return parser


def create_secrets_parser() -> CommandParser:
    parser = CommandParser("create-secrets", "Check .env, and create or update the secrets on Modal from it.")
    add_dry_run_argument(parser, "check .env and name what would be pushed; push nothing")
    add_output_arguments(parser)
    return parser


def deploy_parser() -> CommandParser:
    parser = CommandParser("deploy", "Deploy every app on Modal; the schedule runs by itself from then on.")
    add_dry_run_argument(parser, "name what would be deployed; deploy nothing")
    add_output_arguments(parser)
    return parser


def stop_parser() -> CommandParser:
    parser = CommandParser("stop", "Stop GPUs and the run on Modal, and the schedule until `submit` or `deploy`.")
    parser.add_argument("--now", action="store_true", help="cancel what is at work instead of letting it end in order")
    add_dry_run_argument(parser, "show what would be stopped; stop nothing")
    add_output_arguments(parser)
    return parser


def fetch_parser() -> CommandParser:
    parser = CommandParser("fetch", "Cut windows of a source into a folder, to look at what it gives. Scores nothing.")
    add_source_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go; again, it goes on")
    parser.add_argument("--windows", type=whole(1, MOST_WINDOWS), default=1_000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), default=0, metavar="N", help="their order (default 0)")
    add_output_arguments(parser)
    return parser


def devnet_parser() -> CommandParser:
    from quickstart.devnet.config import add_arguments

    parser = CommandParser("devnet", "Serve an embedded SOMA network until Ctrl-C.")
    add_arguments(parser)
    add_output_arguments(parser)
    return parser


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """`--network`, `--rpc-url` and what goes with them."""
    parser.set_defaults(**NO_RIVALRY)
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        help="devnet: an embedded network, started and stopped by the command; localnet: a node on this machine",
    )
    parser.add_argument("--rpc-url", metavar="URL", help="any full node (also QUICKSTART_RPC_URL)")
    parser.add_argument("--faucet-url", metavar="URL", help="its faucet, if it has one")
    parser.add_argument("--admin-url", metavar="URL", help="its admin service, if we may end its epochs")
    parser.add_argument("--local", action="store_true", help="run the loop on this machine")
    add_state_argument(parser)


def add_source_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        metavar="SOURCE",
        action="append",
        default=[],
        help="what to cut windows from: a folder, stack-v2, hf:OWNER/NAME, mixture:default, ... (README: Data); "
        "repeatable (default: QUICKSTART_SOURCE, else Python's own library)",
    )


def add_detach_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="start it on Modal and do not follow it")


def add_dry_run_argument(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--dry-run", action="store_true", help=what)


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", metavar="DIR", type=Path, help="state folder (also QUICKSTART_STATE)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--verbose", action="store_true", help="log every step")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Type of an option: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        digits = text.strip().replace("_", "")
        if digits.isascii() and digits.isdigit() and len(digits) <= len(str(most)) and least <= int(digits) <= most:
            return int(digits)
        raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is wanted, not {text[:40]!r}")

    return parse


def seconds(text: str) -> float:
    """Type of an option: a finite number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is wanted, not {text[:40]!r}")
    return value
