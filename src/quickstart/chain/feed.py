"""The checkpoint stream of a node: subscribed, watched for gaps and silence, and subscribed again (§4, §16)."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from quickstart.chain.channel import channel_to
from quickstart.chain.checkpoints import MASK
from quickstart.chain.reading import read_failure
from quickstart.units import MINUTES
from quickstart.wire import soma_pb2 as pb

log = logging.getLogger(__name__)

SILENCE_SECONDS = 10.0
"""A node makes several checkpoints a second, also when nothing happens: a stream that says nothing is dead."""

RESUBSCRIBE_PAUSES_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
NOT_OFFERED_PAUSE_SECONDS = 5.0 * MINUTES

_NOT_OFFERED = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Checkpoints were lost, or will be: read the board anew. `reason`: one line for people."""

    reason: str


FeedItem: TypeAlias = pb.Checkpoint | Interrupted


class CheckpointFeed:
    """One node's stream. `bytes_received`: of messages, over all subscriptions."""

    def __init__(self, rpc_url: str, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._rpc_url = rpc_url
        self._silence_seconds = silence_seconds
        self.bytes_received = 0

    async def checkpoints(self) -> AsyncGenerator[FeedItem, None]:
        """Checkpoints for as long as one asks; `Interrupted` where some are missing. Never ends or raises by itself.

        A checkpoint whose number is that of the one before is a sign of life and holds nothing.
        """
        failures = 0
        while True:
            offered = True
            try:
                async with aclosing(self._subscription()) as subscription:
                    async for item in subscription:
                        failures = 0
                        yield item
                reason = "the node ended the stream"
            except TimeoutError:
                reason = f"no checkpoint for {self._silence_seconds:g} s"
            except grpc.aio.AioRpcError as error:
                offered = error.code() not in _NOT_OFFERED
                reason = read_failure(error, self._rpc_url).message
            pauses = RESUBSCRIBE_PAUSES_SECONDS
            pause = pauses[min(failures, len(pauses) - 1)] if offered else NOT_OFFERED_PAUSE_SECONDS
            failures += 1
            log.info("checkpoint stream: %s; again in %.1f s", reason, pause)
            yield Interrupted(reason)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _subscription(self) -> AsyncGenerator[FeedItem, None]:
        request = pb.SubscribeCheckpointsRequest()
        request.read_mask.paths.extend(MASK)
        async with channel_to(self._rpc_url) as channel:
            stream = channel.unary_stream(
                "/soma.rpc.SubscriptionService/SubscribeCheckpoints",
                request_serializer=pb.SubscribeCheckpointsRequest.SerializeToString,
                response_deserializer=self._decoded,
            )(request)
            last: int | None = None
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    response = await stream.read()
                if not isinstance(response, pb.SubscribeCheckpointsResponse):
                    return
                number = response.checkpoint.sequence_number
                if last is not None and not last <= number <= last + 1:
                    yield Interrupted(f"checkpoint {number} came after {last}")
                last = number
                yield response.checkpoint

    def _decoded(self, message: bytes) -> pb.SubscribeCheckpointsResponse:
        self.bytes_received += len(message)
        return pb.SubscribeCheckpointsResponse.FromString(message)
