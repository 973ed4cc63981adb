"""`doctor`: looks at everything that a run rests on, says what mends it; `--fix` does what is safe."""

import argparse
import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from rich.console import Console

from quickstart.chain.addresses import is_loopback
from quickstart.cli.networks import checked_url
from quickstart.cli.rendering import print_json
from quickstart.doctor.examination import examine
from quickstart.doctor.findings import Finding, Severity, exit_code, worst
from quickstart.doctor.fixes import FIXES
from quickstart.doctor.surroundings import Node, Surroundings
from quickstart.errors import SettingsError
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.profiles import chosen
from quickstart.settings import Settings, load_settings, state_folder

STYLES = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def run_doctor(arguments: argparse.Namespace) -> int:
    """Examines, mends what it was asked to, and examines once more what it mended."""
    started = time.monotonic()
    with nullcontext() if arguments.verbose else _quiet():
        findings = asyncio.run(examine(surroundings(arguments)))
        fixed = _fix(findings) if arguments.fix else []
        if fixed:
            findings = asyncio.run(examine(surroundings(arguments)))
    if arguments.json:
        print_json(_document(findings, fixed, time.monotonic() - started))
    else:
        _print(findings, fixed)
    return exit_code(findings, strict=arguments.strict)


@contextmanager
def _quiet() -> Iterator[None]:
    """What modules log at error level is a finding here, and told once."""
    logger = logging.getLogger("quickstart")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def surroundings(arguments: argparse.Namespace) -> Surroundings:
    """What the arguments and the settings name, however malformed the settings are."""
    settings: Settings | None = None
    trouble = ""
    try:
        settings = load_settings()
    except SettingsError as malformed:
        trouble = str(malformed)
    rpc_url = checked_url("rpc_url", arguments.rpc_url) if arguments.rpc_url else None
    rpc_url = rpc_url or (settings and settings.rpc_url) or TESTNET_RPC
    state = arguments.state or (settings.state if settings else state_folder())
    on_modal = not (arguments.local or is_loopback(rpc_url))
    return Surroundings(settings, trouble, chosen().env_file, state, Node(rpc_url), on_modal)


def _fix(findings: Sequence[Finding]) -> list[str]:
    """Does what may be done without asking; says what."""
    return [FIXES[finding.fix](chosen().env_file) for finding in findings if finding.fix]


def _document(findings: Sequence[Finding], fixed: list[str], seconds: float) -> dict[str, Any]:
    return {
        "findings": [asdict(finding) for finding in findings],
        "fixed": fixed,
        "worst": worst(findings),
        "seconds": round(seconds, 1),
    }


def _print(findings: Sequence[Finding], fixed: list[str]) -> None:
    """One line for each finding, and one for what mends it; coloured on a terminal only, unless NO_COLOR is set."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    width = max((len(finding.check) for finding in findings), default=0)
    for told in fixed:
        console.print(f"{'fixed':<8} {told}")
    for finding in findings:
        console.print(f"{finding.severity:<8}", style=STYLES[finding.severity], end=" ")
        console.print(f"{finding.check:<{width}} {finding.message}")
        if finding.mending:
            console.print(f"{'':<8} {'':<{width}} -> {finding.mending}")
    wrong = [sum(one.severity is severity for one in findings) for severity in (Severity.ERROR, Severity.WARNING)]
    console.print(f"{wrong[0]} errors, {wrong[1]} warnings in {len(findings)} findings")
