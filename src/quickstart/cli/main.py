"""The commands people type, as `[project.scripts]` names them.

Importing this module loads none of torch, modal, soma_sdk or gRPC, so that `--help` and usage errors are instant.
"""

import argparse
import errno
import logging
import os
import sqlite3
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import NoReturn

from quickstart.cli.arguments import (
    claim_parser,
    cleanup_parser,
    completion_parser,
    create_secrets_parser,
    deploy_parser,
    devnet_parser,
    doctor_parser,
    fetch_parser,
    logs_parser,
    plan_parser,
    rebuild_parser,
    status_parser,
    stop_parser,
    submit_parser,
    wallet_parser,
)
from quickstart.cli.desk_arguments import (
    alerts_parser,
    board_parser,
    dashboard_parser,
    review_parser,
    validators_parser,
)
from quickstart.cli.model_arguments import niches_parser, publish_parser, reveal_parser, train_parser
from quickstart.cli.stopping import INTERRUPTED
from quickstart.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, QuickstartError
from quickstart.logs import hide_urls
from quickstart.profiles import profile_named, using

log = logging.getLogger(__name__)

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def submit() -> NoReturn:
    """`uv run submit`."""
    _end("commands", "run_submit", submit_parser().parse_args())


def claim() -> NoReturn:
    """`uv run claim`."""
    _end("commands", "run_claim", claim_parser().parse_args())


def rebuild() -> NoReturn:
    """`uv run rebuild`."""
    _end("upkeep", "run_rebuild", rebuild_parser().parse_args())


def cleanup() -> NoReturn:
    """`uv run cleanup`."""
    _end("upkeep", "run_cleanup", cleanup_parser().parse_args())


def status() -> NoReturn:
    """`uv run status`."""
    _end("status", "run_status", status_parser().parse_args())


def review() -> NoReturn:
    """`uv run review`."""
    _end("review", "run_review", review_parser().parse_args())


def board() -> NoReturn:
    """`uv run board`."""
    _end("board", "run_board", board_parser().parse_args())


def validators() -> NoReturn:
    """`uv run validators`."""
    _end("validators", "run_validators", validators_parser().parse_args())


def alerts() -> NoReturn:
    """`uv run alerts`."""
    _end("alerts", "run_alerts", alerts_parser().parse_args())


def dashboard() -> NoReturn:
    """`uv run dashboard`."""
    _end("dashboard", "run_dashboard", dashboard_parser().parse_args())


def plan() -> NoReturn:
    """`uv run plan`."""
    _end("planning", "run_plan", plan_parser().parse_args())


def doctor() -> NoReturn:
    """`uv run doctor`."""
    _end("doctor", "run_doctor", doctor_parser().parse_args())


def logs() -> NoReturn:
    """`uv run logs`."""
    _end("logs", "run_logs", logs_parser().parse_args())


def wallet() -> NoReturn:
    """`uv run wallet`."""
    _end("wallet", "run_wallet", wallet_parser().parse_args())


def devnet() -> NoReturn:
    """`uv run devnet`."""
    _end("commands", "run_devnet", devnet_parser().parse_args())


def train() -> NoReturn:
    """`uv run train`."""
    _end("training", "run_train", train_parser().parse_args())


def publish() -> NoReturn:
    """`uv run publish`."""
    _end("releases", "run_publish", publish_parser().parse_args())


def reveal() -> NoReturn:
    """`uv run reveal`."""
    _end("releases", "run_reveal", reveal_parser().parse_args())


def niches() -> NoReturn:
    """`uv run niches`."""
    _end("niches", "run_niches", niches_parser().parse_args())


def fetch() -> NoReturn:
    """`uv run fetch`."""
    _end("fetching", "run_fetch", fetch_parser().parse_args())


def create_secrets() -> NoReturn:
    """`uv run create-secrets`."""
    _end("secrets", "run_create_secrets", create_secrets_parser().parse_args())


def completion() -> NoReturn:
    """`uv run completion`."""
    _end("completion", "run_completion", completion_parser().parse_args())


def deploy() -> NoReturn:
    """`uv run deploy`."""
    _end("cloud", "run_deploy", deploy_parser().parse_args())


def stop() -> NoReturn:
    """`uv run stop`."""
    _end("cloud", "run_stop", stop_parser().parse_args())


def _end(module: str, command: str, arguments: argparse.Namespace) -> NoReturn:
    """Runs a command and leaves with its exit code.

    Leaves through `os._exit`: soma-sdk's threads sometimes panic when the interpreter is torn down under them.
    """
    _log_to_stderr(arguments.verbose)
    code = _run(module, command, arguments)
    try:
        sys.stdout.flush()
    except OSError:
        code = EXIT_FAILED
    sys.stderr.flush()
    os._exit(code if code in (EXIT_DONE, EXIT_FAILED, EXIT_USAGE) else EXIT_FAILED)


def _run(module: str, command: str, arguments: argparse.Namespace) -> int:
    """The command's exit code; every failure that was foreseen is one line."""
    try:
        with using(profile_named(arguments.profile)) if arguments.profile else nullcontext():
            return int(getattr(import_module(f"quickstart.cli.{module}"), command)(arguments))
    except QuickstartError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say(INTERRUPTED, EXIT_FAILED, prefix="")
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_DONE
    except OSError as error:
        return _say(_disk_trouble(error), EXIT_USAGE)
    except sqlite3.Error as error:
        return _say(
            f"a ledger in the state folder cannot be used ({error}); "
            "free disk space, or name another folder with --state",
            EXIT_USAGE,
        )
    except Exception:
        # The outermost boundary: what nobody foresaw is a bug, told in full, and still ends with an exit code.
        log.exception("this is a bug in quickstart; nothing is lost, run the same command again to go on")
        return EXIT_FAILED


def _say(message: str, code: int, prefix: str = "error: ") -> int:
    print(prefix + " ".join(message.split()), file=sys.stderr)
    return code


def _disk_trouble(error: OSError) -> str:
    """An `OSError` that no module turned into words of its own: almost always the state folder's disk."""
    place = f"{error.filename} " if error.filename else "a file of the state folder "
    if error.errno in _DISK_FULL:
        return f"{place}cannot be written, the disk is full ({error.strerror}); free some space and run this again"
    return (
        f"{place}cannot be used ({error.strerror or error}); mend its permissions, or name another folder with --state"
    )


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if verbose else "note: %(message)s",
        stream=sys.stderr,
    )
    hide_urls()
