"""Which chain a node serves: what bank and ledger are filed under.

The SDK shows only the network's name ("localnet" for every one); the node's own `GetServiceInfo` has the id that
tells two genesis blocks apart, so this one call is made over plain gRPC.
"""

import asyncio
from dataclasses import dataclass

import grpc

from quickstart.chain.backoff import Backoff
from quickstart.chain.channel import channel_to
from quickstart.chain.outcomes import ReadProblem, read_failure
from quickstart.wire import soma_pb2

TIMEOUT_SECONDS = 10.0
TRIES = 6
BACKOFF = Backoff(first=0.25, longest=8.0)


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """`chain_id`: digest of the genesis checkpoint; `chain`: the network's name; `server`: software and version."""

    chain_id: str
    chain: str
    server: str


async def service_info(rpc_url: str) -> ServiceInfo:
    """Asks a node who it is.

    Raises:
        UnreachableError: nothing answers at `rpc_url`.
        NetworkError: something answers that is not a node.
    """
    async with channel_to(rpc_url) as channel:
        call = channel.unary_unary(
            "/soma.rpc.LedgerService/GetServiceInfo",
            request_serializer=soma_pb2.GetServiceInfoRequest.SerializeToString,
            response_deserializer=soma_pb2.GetServiceInfoResponse.FromString,
        )
        for attempt in range(1, TRIES + 1):
            try:
                answer = await call(soma_pb2.GetServiceInfoRequest(), timeout=TIMEOUT_SECONDS)
                break
            except grpc.aio.AioRpcError as error:
                failure = read_failure(error, rpc_url)
                busy = failure.retryable and failure.problem is not ReadProblem.UNREACHABLE
                if not busy or attempt == TRIES:
                    raise failure.as_error() from error
                await asyncio.sleep(BACKOFF.pause(attempt, failure.retry_after_seconds))
    return ServiceInfo(answer.chain_id or answer.chain, answer.chain, answer.server)
