"""This machine: its clock, its disk, the state folder, and whether it computes what the network computes."""

import base64
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.resources import files
from pathlib import Path

import httpx
import numpy as np
from arrgen import normal_array

from quickstart.doctor.findings import Finding, error, ok, warning
from quickstart.doctor.surroundings import Surroundings, in_thread
from quickstart.ledger.wallet_files import STATE_VERSION, wallet_files
from quickstart.scoring.contract import TOLERANCE, distance
from quickstart.scoring.weights import parse_weights
from quickstart.submission.storage import public_client
from quickstart.units import GIB, MIB

TIME_HOSTS = ("https://s3.amazonaws.com", "https://huggingface.co")
"""Asked for the time where the settings name no host of their own."""

SKEW_SECONDS, DANGEROUS_SKEW_SECONDS = 30.0, 300.0
"""S3 refuses what is signed a quarter of an hour off; reveals and caps go by the clock too."""

ROOM_BYTES, LEAST_ROOM_BYTES = 2 * GIB, 256 * MIB

OTHER_STATE = "name another folder as QUICKSTART_STATE"


async def check_clock(at: Surroundings) -> Sequence[Finding]:
    """Compares the clock with the first of two hosts that tells the time."""
    own = (at.settings.s3_endpoint_url, at.settings.hf_endpoint) if at.settings else (None, None)
    for ours, usual in zip(own, TIME_HOSTS, strict=True):
        host = ours or usual
        skew = await in_thread(_skew, host, at)
        if skew is None:
            continue
        told = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {host}'s"
        mending = "set the clock by the network: `sudo timedatectl set-ntp true`, or your system's settings"
        if abs(skew) >= DANGEROUS_SKEW_SECONDS:
            return [error("clock", f"{told}: uploads are refused, and reveals may be missed", mending)]
        if abs(skew) >= SKEW_SECONDS:
            return [warning("clock", told, mending)]
        return [ok("clock", f"right to {max(1.0, abs(skew)):.0f} s")]
    return [warning("clock", "not checked: no host told the time", "check the connection")]


def _skew(host: str, at: Surroundings) -> float | None:
    """Seconds by which our clock is ahead of a host's, which tells whole seconds; None if it tells no time."""
    try:
        with public_client() as client:
            date = client.head(host).headers.get("date", "")
        return at.clock() - (parsedate_to_datetime(date).timestamp() + 0.5)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None


async def check_disk(at: Surroundings) -> Sequence[Finding]:
    """Whether there is room for bank, ledger and published windows."""
    free = at.free_bytes(at.state)
    told = f"{free / GIB:.1f} GiB are free where {at.state} is"
    if free < LEAST_ROOM_BYTES:
        return [error("disk", f"{told}: a run would stop in the middle", f"free disk space, or {OTHER_STATE}")]
    if free < ROOM_BYTES:
        return [warning("disk", told, f"free disk space, or {OTHER_STATE}")]
    return [ok("disk", told)]


async def check_state(at: Surroundings) -> Sequence[Finding]:
    """Whether the state folder is one of this program, and its ledgers are whole."""
    if not at.state.exists():
        return [ok("state", f"{at.state} is not there yet; the first run makes it")]
    return await in_thread(_state_findings, at.state)


def _state_findings(state: Path) -> Sequence[Finding]:
    marker = state / "version"
    try:
        version = int(marker.read_text()) if marker.exists() else STATE_VERSION
    except (ValueError, OSError):
        return [error("state", f"{marker} does not hold a version", OTHER_STATE)]
    if version > STATE_VERSION:
        told = f"{state} is of version {version}, this program knows {STATE_VERSION}"
        return [error("state", told, f"update this program, or {OTHER_STATE}")]
    damaged = sorted(one.path for one in wallet_files(state) if not _is_whole(one.path))
    if damaged:
        mending = "`uv run rebuild` with the options of your runs"
        return [error("state", f"the ledger {path} is damaged", mending) for path in damaged]
    return [ok("state", f"{state} is of version {version}")]


def _is_whole(ledger: Path) -> bool:
    """What SQLite makes of a ledger; one that is in use is not damaged."""
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False


@dataclass(frozen=True, slots=True)
class Golden:
    """What the network's own scoring service answered for a window and a model that is packaged here."""

    window: bytes
    model: str
    target_seed: int
    loss: float
    distance: float


def golden() -> tuple[Golden, ...]:
    """The recorded answers."""
    rows = json.loads((files("quickstart.doctor") / "golden.json").read_text())
    return tuple(Golden(**(row | {"window": base64.b64decode(row["window"])})) for row in rows)


async def check_scorer(at: Surroundings) -> Sequence[Finding]:
    """Whether this machine's engine gives the network's answers for two windows, to a tenth of its tolerance."""
    return [await in_thread(_parity, at)]


def _parity(at: Surroundings) -> Finding:
    engine, shares = at.engine(), list[float]()
    for case in golden():
        packaged = files("quickstart.devnet") / "weights" / f"{case.model}.safetensors"
        scored = engine.score(parse_weights(packaged.read_bytes()), [case.window])
        embedding = scored.embeddings[0]
        target = normal_array(case.target_seed, [len(embedding)], 0.0, 1.0)
        shares.append(abs(float(scored.losses[0]) - case.loss) / (TOLERANCE * max(1.0, abs(case.loss))))
        shares.append(abs(distance(embedding, target) - case.distance) / TOLERANCE)
    worst = float(np.max(shares))  # NaN if one is
    told = f"{engine.id} differs from the network's answers by {worst:.2%} of what the audit allows"
    if not worst < 0.1:
        return error("scorer", f"{told}: claims would be false", "`uv sync`; do not submit from here while it stays")
    return ok("scorer", told)
