"""Writes the hash-locked requirement files from `uv.lock`, or with `--check` tells whether they are up to date.

`uv.lock` names download hosts and is not committed; these files are. `uv` makes it again from `pyproject.toml`,
where `exclude-newer` fixes the point in time, so that every machine comes to the same versions and hashes.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LOCKS: dict[str, tuple[str, ...]] = {
    "requirements.lock": ("--extra", "data"),
    "requirements-scorer.lock": ("--extra", "scorer"),
    "requirements-dashboard.lock": ("--extra", "dashboard"),
}
EXPORT = (
    "uv",
    "export",
    "--quiet",
    "--format",
    "requirements-txt",
    "--no-dev",
    "--no-emit-project",
    "--no-header",
    "--no-annotate",
)


def exported(options: tuple[str, ...]) -> str:
    """Text of one lock file as the present `pyproject.toml` demands it.

    Raises:
        SystemExit: uv failed, or its answer names a host.
    """
    done = subprocess.run([*EXPORT, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"uv export failed: {done.stderr.strip()}")
    problem = flaw(done.stdout)
    if problem is not None:
        raise SystemExit(f"uv export gave a lock that cannot be committed: {problem}")
    return done.stdout


def flaw(text: str) -> str | None:
    """Why `text` must not be committed as a lock: it names a host, or a requirement without hashes."""
    requirements = text.replace("\\\n", " ").splitlines()
    for line in requirements:
        if "://" in line:
            return f"an address in: {line.split()[0]}"
        if line.strip() and not line.startswith("#") and "--hash=sha256:" not in line:
            return f"no hash for: {line.split()[0]}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit 1 if a file is out of date, write nothing")
    check = parser.parse_args().check
    stale = []
    for name, options in LOCKS.items():
        path, wanted = ROOT / name, exported(options)
        if path.exists() and path.read_text(encoding="utf-8") == wanted:
            continue
        stale.append(name)
        if not check:
            path.write_text(wanted, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run: uv run python scripts/lock.py", file=sys.stderr)
        return 1
    print("locks are up to date" if not stale else f"written: {', '.join(stale)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
