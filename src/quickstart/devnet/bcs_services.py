"""Faucet, admin and scoring: gRPC with BCS bodies (`soma-protocol` §1, §3, §13)."""

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import grpc
import numpy as np

from quickstart.chain import bcs
from quickstart.chain.ids import format_digest, format_id, parse_digest, parse_id
from quickstart.chain.transactions import FloatVector, Manifest
from quickstart.devnet.node import Node
from quickstart.devnet.scorer import DataProblem, ModelProblem, ModelScore, ScoreRequest, best
from quickstart.errors import StateError
from quickstart.scoring.contract import distance

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class BcsServices:
    """The three side services of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """For `grpc.aio.Server.add_generic_rpc_handlers`."""
        services: dict[str, dict[str, Callable[[bytes, Context], Awaitable[bytes]]]] = {
            "faucet.Faucet": {"RequestGas": self.request_gas},
            "admin.Admin": {"AdvanceEpoch": self.advance_epoch},
            "scoring.Scoring": {"Score": self.score, "Health": self.health},
        }
        return tuple(
            grpc.method_handlers_generic_handler(
                service,
                {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()},
            )
            for service, methods in services.items()
        )

    async def request_gas(self, body: bytes, context: Context) -> bytes:
        config = self._node.config
        try:
            address = parse_id(bcs.Reader(body).string())
        except ValueError:
            text = "Invalid address: Unable to parse AccountAddress (must be hex string of length 32)"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        try:
            given = self._node.give(address, config.faucet_shannons, config.faucet_coins)
        except StateError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        digest = format_digest(given.digest)
        coins = [
            bcs.u64(config.faucet_shannons) + bcs.string(format_id(coin)) + bcs.string(digest)
            for coin in given.object_ids
        ]
        return bcs.string("Success") + bcs.vector(coins, bytes)

    async def advance_epoch(self, _: bytes, context: Context) -> bytes:
        try:
            return bcs.u64(await self._node.advance_epoch())
        except StateError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
            raise

    async def health(self, _: bytes, __: Context) -> bytes:
        return b"\x01"

    async def score(self, body: bytes, context: Context) -> bytes:
        try:
            request, target = read_score_request(body)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = await self._node.scorer.score(request)
        problem = _first_problem(answer)
        if problem is not None or isinstance(answer, DataProblem):
            await context.abort(grpc.StatusCode.INTERNAL, f"Runtime competition error: {problem}")
        scores = [result for result in answer if isinstance(result, ModelScore)]
        winner = best(scores)
        embedding = scores[winner].embedding
        if embedding.size != target.size:
            text = f"target has {target.size} components, the model {embedding.size}"
            await context.abort(grpc.StatusCode.INTERNAL, f"Runtime competition error: {text}")
        return (
            bcs.u64(winner)
            + _float_bits([scores[winner].loss])
            + _float_bits(embedding.tolist())
            + _float_bits([distance(embedding, target)])
        )


def read_score_request(body: bytes) -> tuple[ScoreRequest, FloatVector]:
    """A scoring request and the target it is for.

    Raises:
        ValueError: no models, an empty target, checksums or keys that are not base58 of 32 bytes.
    """
    read = bcs.Reader(body)
    url, checksum, size = read.string(), read.string(), read.u64()
    models = read.vector(lambda: (read.string(), read.string(), read.u64(), read.option(read.string)))
    target = np.array([struct.unpack("<f", bcs.u32(b))[0] for b in read.vector(read.u32)], dtype=np.float32)
    seed = read.u64()
    if not models:
        raise ValueError("At least one model manifest is required")
    if not target.size:
        raise ValueError("Target embedding cannot be empty")
    data = Manifest(url, parse_digest(checksum), size)
    wanted = [
        (Manifest(model_url, parse_digest(model_checksum), model_size), parse_digest(key) if key else b"")
        for model_url, model_checksum, model_size, key in models
    ]
    return ScoreRequest(data, tuple(wanted), seed), target


def _first_problem(answer: list[ModelScore | ModelProblem] | DataProblem) -> str | None:
    if isinstance(answer, DataProblem):
        return answer.reason
    return next((result.reason for result in answer if isinstance(result, ModelProblem)), None)


def _float_bits(values: Sequence[float]) -> bytes:
    return bcs.vector(values, lambda value: struct.pack("<f", value))
