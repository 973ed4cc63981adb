"""Promises whose long form is the short one: their tests are run as they are, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests.campaign.registry import Findings, Promise

ROOT = Path(__file__).parents[3]


def _tests(done: str, *files: str) -> Findings:
    """Runs test files, and counts what came of them."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=", "-q", f"--junitxml={report}"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in files)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    names = ("tests", "failures", "errors", "skipped")
    counts = {name: int(suite.get(name, 0)) for name in names} if suite is not None else {}
    lost = counts.get("failures", 0) + counts.get("errors", 0) or int(ended.returncode != 0)
    figures = {"first": ended.stdout[-300:]} if lost else {}
    return {"done": done, "times": counts.get("tests", 0) - counts.get("skipped", 0), "lost": lost, "figures": figures}


def dry_run_cannot_sign(_: int, __: int) -> Findings:
    done = "tests: every SDK method classified, a signer and a bucket that explode, every command's --dry-run"
    return _tests(done, "guard/test_dry_run.py", "chain/test_sdk_methods.py")


def preemption_is_boring(_: int, __: int) -> Findings:
    done = "tests: a day on the stand-in for Modal with scorers and submitter killed, and workers killed here"
    return _tests(done, "modal/test_apps_interrupted.py", "submission/test_local_executor.py")


def dollars_stay_below_their_cap(_: int, __: int) -> Findings:
    return _tests("tests: what GPUs cost, with random work and killed containers", "modal/test_scorer_dollars.py")


def bad_input_is_one_line(_: int, __: int) -> Findings:
    done = "tests: malformed settings, keys, addresses, options, data, state, weights; each one line, exit code 2"
    return _tests(done, "guard/test_bad_input.py", "guard/test_hostile_input.py", "edges/test_settings.py")


PROMISES = (
    Promise(8, "spend never passes the cap (dollars)", dollars_stay_below_their_cap, short=0, long=1),
    Promise(9, "preemption is boring", preemption_is_boring, short=0, long=1),
    Promise(11, "dry run cannot sign", dry_run_cannot_sign, short=0, long=1),
    Promise(14, "bad input gets a clear error", bad_input_is_one_line, short=0, long=1),
)
