"""By hand: start a stand-in, run commands against it (or keep it up), print the report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

from .standin import FakeModal

EXPORTED = (
    "MODAL_SERVER_URL",
    "MODAL_TOKEN_ID",
    "MODAL_TOKEN_SECRET",
    "MODAL_CONFIG_PATH",
    "FAKEMODAL_HTTP",
    "NO_PROXY",
)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fakemodal", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path.cwd(), help="where commands run (default: here)")
    parser.add_argument("--workdir", type=Path, help="keep state and logs here (default: a temporary folder)")
    parser.add_argument("--lenient", action="store_true", help="make up missing secrets and volumes")
    parser.add_argument("--secret", action="append", default=[], metavar="NAME:K=V,K=V", help="make a secret first")
    parser.add_argument("--containers", type=int, default=2, help="at most, per function")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fire", action="store_true", help="after the commands, fire every schedule and wait")
    parser.add_argument("command", nargs="*", help="shell commands, one argument each; none: stay until told to stop")
    return parser.parse_args(argv)


def secret(text: str) -> tuple[str, dict[str, str]]:
    name, _, pairs = text.partition(":")
    return name, dict(pair.split("=", 1) for pair in pairs.split(",") if pair)


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="fakemodal-") as temporary:
        standin = FakeModal(
            options.workdir or Path(temporary),
            project=options.project,
            secrets=dict(map(secret, options.secret)),
            strict=not options.lenient,
            containers_per_function=options.containers,
            port=options.port,
        )
        with standin:
            code = serve(standin) if not options.command else run(standin, options.command, options.fire)
        sys.stdout.write(json.dumps(standin.report(), indent=2, default=str) + "\n")
    return code


def serve(standin: FakeModal) -> int:
    for name in EXPORTED:
        sys.stdout.write(f"export {name}={shlex.quote(standin.environment[name])}\n")
    sys.stdout.write(
        "# POST $FAKEMODAL_HTTP/control/{fire,preempt,kill,stop}?function=NAME, GET $FAKEMODAL_HTTP/report\n"
    )
    sys.stdout.flush()
    try:
        standin.wait()
    except KeyboardInterrupt:
        return 130
    return 0


def run(standin: FakeModal, commands: list[str], fire: bool) -> int:
    for command in commands:
        done = standin.command("sh", "-c", command, timeout=3600, check=False)
        sys.stderr.write(f"$ {command}\n{done.stdout}")
        if done.returncode:
            return done.returncode
    if fire:
        standin.fire()
    standin.settle(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
