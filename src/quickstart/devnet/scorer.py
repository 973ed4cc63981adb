"""Scoring for the audit and the scoring service: in a process of its own, so that the node answers
meanwhile."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.transactions import Manifest

_LINE_LIMIT = 64 * 1024 * 1024
_ENDED: Mapping[str, object] = {"data_problem": "the scoring process ended", "may_pass": True}


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Data and models to score it with; a model's key is empty if its weights are not encrypted."""

    data: Manifest
    models: tuple[tuple[Manifest, bytes], ...]
    seed: int = 0

    def encode(self) -> bytes:
        models = [{**_manifest_json(manifest), "key": key.hex()} for manifest, key in self.models]
        return json.dumps({"data": _manifest_json(self.data), "models": models, "seed": self.seed}).encode() + b"\n"


@dataclass(frozen=True, slots=True, eq=False)
class ModelScore:
    """One model's answer: the mean loss, and the embedding, float64 (width,)."""

    loss: float
    embedding: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DataProblem:
    """The data cannot be had or is not what its manifest says. `may_pass`: another try may find it."""

    reason: str
    may_pass: bool


@dataclass(frozen=True, slots=True)
class ModelProblem:
    """A model cannot be had or computed. `may_pass`: another try may work."""

    reason: str
    may_pass: bool = False


class Scorer:
    """A worker process that scores one request after another with the float64 reference.

    It remembers results by (weights, data, seed), keeps downloaded data in `blobs` if given, runs at low
    priority, and ends when this process does: its standard input closes."""

    def __init__(self, blobs: Path | None) -> None:
        self._blobs = blobs
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._stopped = False

    async def score(self, request: ScoreRequest) -> list[ModelScore | ModelProblem] | DataProblem:
        """One answer per model, in the request's order, or why the data cannot be used."""
        # Shielded: a caller that gives up must not leave half an exchange behind.
        answer = await asyncio.shield(asyncio.create_task(self._exchange(request.encode())))
        if "data_problem" in answer:
            return DataProblem(str(answer["data_problem"]), bool(answer["may_pass"]))
        results = answer["results"]
        assert isinstance(results, list)
        return [_read_result(result) for result in results]

    async def stop(self) -> None:
        """Ends the worker at once, and for good: whoever waits for an answer is told that there is none."""
        self._stopped = True
        self._kill()
        # Not before an exchange under way has ended: one that is cut off while it starts a process never ends.
        async with self._turn:
            self._kill()
            if self._process is not None:
                await self._process.wait()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _exchange(self, line: bytes) -> dict[str, object]:
        async with self._turn:
            return await self._ask(line)

    async def _ask(self, line: bytes) -> dict[str, object]:
        if self._stopped:
            return dict(_ENDED)
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
            if self._stopped:
                return dict(_ENDED)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            reply = await process.stdout.readline()
        except ConnectionError:
            reply = b""
        if not reply:
            return dict(_ENDED)
        answer = json.loads(reply)
        assert isinstance(answer, dict)
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        blobs = [str(self._blobs)] if self._blobs else []
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL", "VECLIB")}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "quickstart.devnet.scorer_worker",
            *blobs,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            env={**os.environ, **one_thread},
        )


def _manifest_json(manifest: Manifest) -> dict[str, object]:
    return {"url": manifest.url, "checksum": manifest.checksum.hex(), "size": manifest.size}


def _read_result(result: dict[str, object]) -> ModelScore | ModelProblem:
    if "problem" in result:
        return ModelProblem(str(result["problem"]), bool(result["may_pass"]))
    embedding = np.array(result["embedding"], dtype=np.float64)
    return ModelScore(float(str(result["loss"])), embedding)


def best(results: Sequence[ModelScore]) -> int:
    """The winner: the lowest loss, the first of equals."""
    return min(range(len(results)), key=lambda i: results[i].loss)
