"""The process behind `scorer.Scorer`: reads one JSON request a line, answers one JSON line, until its input
ends."""

import json
import math
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.transactions import Manifest
from quickstart.errors import WeightsError
from quickstart.scoring.engine import Weights
from quickstart.scoring.reference import Evaluation, evaluate
from quickstart.scoring.weights import decrypt, parse_weights
from quickstart.units import MIB

LOW_PRIORITY = 10
DOWNLOAD_SECONDS = 20.0
RANGE_BYTES = 5 * MIB
"""The network's scoring service downloads in ranges of this size; so does this one (§13)."""


class Unusable(Exception):
    """Bytes that cannot be had (`may_pass`) or that are not what their manifest says."""

    def __init__(self, reason: str, may_pass: bool) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


def download(client: httpx.Client, manifest: Manifest) -> bytes:
    """The bytes a manifest names, checked.

    Raises:
        Unusable: unreachable, of another size, or with another checksum.
    """
    data = bytearray()
    try:
        while len(data) < manifest.size or manifest.size == 0:
            last = min(len(data) + RANGE_BYTES, max(1, manifest.size)) - 1
            piece = _range(client, manifest.url, len(data), last)
            data += piece
            if manifest.size == 0 or not piece:
                break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unusable(f"Blob error: {manifest.url} is unavailable ({error})", may_pass=True) from error
    if len(data) != manifest.size:
        raise Unusable(f"size mismatch: expected {manifest.size} bytes, got {len(data)}", may_pass=False)
    if blake2b_256(data) != manifest.checksum:
        raise Unusable(f"checksum mismatch of {manifest.url}", may_pass=False)
    return bytes(data)


def _range(client: httpx.Client, url: str, first: int, last: int) -> bytes:
    wanted = last - first + 1
    piece = bytearray()
    with client.stream("GET", url, headers={"range": f"bytes={first}-{last}"}) as response:
        if response.status_code >= 400:
            raise httpx.HTTPError(f"HTTP {response.status_code}")
        for chunk in response.iter_bytes():
            piece += chunk
            if len(piece) > wanted:
                raise Unusable(f"size mismatch: expected {wanted} bytes, got more from {url}", may_pass=False)
    return bytes(piece)


@dataclass(slots=True)
class Worker:
    """What one process remembers: downloads, parsed weights, and every evaluation it made."""

    client: httpx.Client
    blobs: Path | None
    weights: dict[tuple[Id32, bytes], Weights] = field(default_factory=dict)
    evaluations: dict[tuple[Id32, Id32, int], Evaluation] = field(default_factory=dict)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request, as JSON values."""
        try:
            data = self.data(_manifest(request["data"]))
        except Unusable as problem:
            return {"data_problem": str(problem), "may_pass": problem.may_pass}
        return {"results": [self.result(model, data, request["seed"]) for model in request["models"]]}

    def data(self, manifest: Manifest) -> bytes:
        """The data, kept on disk once it was had: a restart audits it even if its host is gone."""
        kept = self.blobs / manifest.checksum.hex() if self.blobs else None
        if kept is not None and kept.exists():
            data = kept.read_bytes()
            if blake2b_256(data) == manifest.checksum and len(data) == manifest.size:
                return data
        data = download(self.client, manifest)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".part")
            partial.write_bytes(data)
            partial.replace(kept)
        return data

    def result(self, model: dict[str, Any], data: bytes, seed: int) -> dict[str, Any]:
        """One model's score, or why there is none: that is no fault of the data's."""
        try:
            weights = self.model(_manifest(model), bytes.fromhex(model["key"]))
            key = (weights.checksum, blake2b_256(data), seed)
            if key not in self.evaluations:
                self.evaluations[key] = evaluate(weights, data, seed)
        except Unusable as problem:
            return {"problem": str(problem), "may_pass": problem.may_pass}
        except (WeightsError, ValueError, ArithmeticError) as error:
            return {"problem": str(error), "may_pass": False}
        evaluation = self.evaluations[key]
        if not math.isfinite(evaluation.loss):
            return {"problem": "the loss is not a number", "may_pass": False}
        return {"loss": evaluation.loss, "embedding": evaluation.embedding.tolist()}

    def model(self, manifest: Manifest, key: bytes) -> Weights:
        name = (manifest.checksum, key)
        if name not in self.weights:
            published = download(self.client, manifest)
            self.weights[name] = parse_weights(decrypt(published, key) if key else published)
        return self.weights[name]


def _manifest(values: dict[str, Any]) -> Manifest:
    return Manifest(values["url"], bytes.fromhex(values["checksum"]), values["size"])


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(LOW_PRIORITY)
    blobs = Path(arguments[0]) if arguments else None
    # No environment: neither proxies nor credentials have a say in what an audit sees.
    with httpx.Client(trust_env=False, timeout=DOWNLOAD_SECONDS, follow_redirects=True) as client:
        worker = Worker(client, blobs)
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(json.dumps(worker.answer(json.loads(line))).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
