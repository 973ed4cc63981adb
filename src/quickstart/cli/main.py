"""The commands `submit`, `claim`, `status` and `devnet`.

Importing this module loads none of torch, modal, soma_sdk or gRPC, so that `--help` and usage errors are instant.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NoReturn

from quickstart.cli.networks import add_network_arguments
from quickstart.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, QuickstartError

DEVNET_WINDOWS = 320


def submit() -> NoReturn:
    """`uv run submit`."""
    parser = argparse.ArgumentParser(
        prog="submit", description="Score data, submit what fits, and on a devnet age the epochs and claim."
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--source",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="folder to cut windows from; repeatable (default: Python's own library)",
    )
    parser.add_argument("--windows", type=_positive, metavar="N", help="new windows to score in this run")
    parser.add_argument("--epochs", type=_positive, default=4, metavar="N", help="epochs of submitting (default 4)")
    parser.add_argument(
        "--max-hits", type=_positive, default=150, metavar="N", help="submissions per epoch at most (default 150)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of an epoch of submitting at most")
    parser.add_argument("--lanes", type=_positive, metavar="K", help="transactions in flight (default 8)")
    parser.add_argument("--workers", type=_positive, metavar="N", default=os.cpu_count() or 1, help="scoring processes")
    parser.add_argument("--engine", choices=("auto", "numpy", "torch"), default="auto", help="what scores")
    parser.add_argument("--seed", type=int, default=0, help="order in which windows are cut, and the devnet's chain")
    parser.add_argument("--dry-run", action="store_true", help="score and match, but publish, sign and send nothing")
    _add_output_arguments(parser)
    arguments = parser.parse_args()
    arguments.devnet_seed = arguments.seed

    def run() -> int:
        from quickstart.cli.commands import run_submit

        return run_submit(arguments)

    _end(run, arguments.verbose)


def claim() -> NoReturn:
    """`uv run claim`."""
    parser = argparse.ArgumentParser(prog="claim", description="Claim everything of ours that is claimable.")
    add_network_arguments(parser)
    _add_output_arguments(parser)
    arguments = parser.parse_args()
    arguments.devnet_seed = 0

    def run() -> int:
        from quickstart.cli.commands import run_claim

        return run_claim(arguments)

    _end(run, arguments.verbose)


def status() -> NoReturn:
    """`uv run status`."""
    parser = argparse.ArgumentParser(
        prog="status", description="What this wallet has filled and earned, from the ledger."
    )
    add_network_arguments(parser)
    _add_output_arguments(parser)
    arguments = parser.parse_args()

    def run() -> int:
        from quickstart.cli.commands import run_status

        return run_status(arguments)

    _end(run, arguments.verbose)


def devnet() -> NoReturn:
    """`uv run devnet`."""
    from quickstart.devnet.config import add_arguments

    parser = argparse.ArgumentParser(prog="devnet", description="Serve an embedded SOMA network until Ctrl-C.")
    add_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="log what the network does")
    arguments = parser.parse_args()

    def run() -> int:
        from quickstart.cli.commands import run_devnet

        return run_devnet(arguments)

    _end(run, arguments.verbose)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--verbose", action="store_true", help="log every step")


def _positive(text: str) -> int:
    try:
        value = int(Decimal(text))
    except (InvalidOperation, ValueError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0 is wanted, not {text!r}")
    return value


def _end(run: Callable[[], int], verbose: bool) -> NoReturn:
    """Runs a command and leaves with its exit code; every expected failure is one line.

    Leaves through `os._exit`: soma-sdk's threads sometimes panic when the interpreter is torn down under them.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        code = run()
    except QuickstartError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing is lost, run the same command again to go on", file=sys.stderr)
        code = EXIT_FAILED
    except BrokenPipeError:
        code = EXIT_DONE
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if code in (EXIT_DONE, EXIT_FAILED, EXIT_USAGE) else EXIT_FAILED)
