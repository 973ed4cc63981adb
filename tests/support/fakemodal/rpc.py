"""gRPC plumbing: one handler per RPC of the installed ``modal_proto``, authenticated, counted, mapped to a service."""

from __future__ import annotations

import hmac
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError
from modal_proto import api_pb2 as pb
from modal_proto.api_grpc import ModalClientBase

from .workspace import Workspace

TASK_HEADER = "x-fake-task-id"
CLIENT_KINDS: dict[int, str] = {
    number: name.removeprefix("CLIENT_TYPE_").lower() for name, number in pb.ClientType.items()
}

# The client sends these for its own bookkeeping; an empty message is what it expects back.
EMPTY_WILL_DO = {"AppHeartbeat", "ContainerHello", "ContainerLog", "DictHeartbeat", "QueueHeartbeat", "VolumeHeartbeat"}

# What a function with restrict_modal_access may not touch. Modal documents only "access to other Modal resources".
RESTRICTED = ("Dict", "Queue", "Secret", "App", "FunctionMap", "FunctionGetOutputs", "FunctionCallFromId", "ClassGet")


class Router:
    """What grpclib wants of a service: ``__mapping__``. Methods of the services are found by the name of the RPC."""

    def __init__(self, workspace: Workspace, services: Iterable[object], token: tuple[str, str]) -> None:
        self.workspace = workspace
        self.token = token
        self.methods: dict[str, Callable[..., Any]] = {}
        for service in services:
            for name in dir(service):
                if name[0].isupper():
                    self.methods[name] = getattr(service, name)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: Handler(self._wrap(path.rsplit("/", 1)[1], h), h.cardinality, h.request_type, h.reply_type)
            for path, h in _routing_table().items()
        }

    def _admit(self, name: str, metadata: Any) -> None:
        """Counts the RPC and refuses callers without the workspace's token, or containers nobody started."""
        kind = CLIENT_KINDS.get(int(metadata.get("x-modal-client-type", "0")), "unknown")
        self.workspace.rpcs[kind][name] += 1
        if task_id := metadata.get(TASK_HEADER):
            container = self.workspace.containers.get(task_id)
            if container is None:
                raise GRPCError(Status.UNAUTHENTICATED, "no such container")
            if container.untrusted and name.startswith(RESTRICTED):
                raise GRPCError(
                    Status.PERMISSION_DENIED, f"{name} is not open to a function with restrict_modal_access"
                )
            return
        self.workspace.client_python = metadata.get("x-modal-python-version", "")
        self.workspace.client_version = metadata.get("x-modal-client-version", "")
        given = (metadata.get("x-modal-token-id", ""), metadata.get("x-modal-token-secret", ""))
        if not all(hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, self.token, strict=True)):
            raise GRPCError(Status.UNAUTHENTICATED, "Token validation failed: unknown token ID or wrong secret")

    def _wrap(self, name: str, described: Handler) -> Callable[[Any], Any]:
        method = self.methods.get(name)

        async def handler(stream: Any) -> None:
            request = await stream.recv_message()
            self._admit(name, stream.metadata)
            try:
                if name in EMPTY_WILL_DO:
                    await stream.send_message(described.reply_type())
                elif method is None:
                    self.workspace.unanswered[name] += 1
                    raise GRPCError(Status.UNIMPLEMENTED, f"the stand-in does not answer {name}")
                elif described.cardinality is Cardinality.UNARY_UNARY:
                    reply = await method(request, stream)
                    await stream.send_message(described.reply_type() if reply is None else reply)
                else:
                    async for message in method(request, stream):
                        await stream.send_message(message)
            except (GRPCError, OSError, StreamTerminatedError):  # an answer, or a caller that has gone
                raise
            except Exception as exc:  # the edge of the server: the client must learn of our own bugs
                self.workspace.errors.append(f"{name}: {traceback.format_exc()}")
                raise GRPCError(Status.INTERNAL, f"stand-in, {name}: {exc!r}") from exc

        return handler


def _routing_table() -> dict[str, Handler]:
    async def unused(self: object, stream: object) -> None:
        raise AssertionError("only the names in this table are used")

    stubs = dict.fromkeys(ModalClientBase.__abstractmethods__, unused)
    table: dict[str, Handler] = type("Table", (ModalClientBase,), stubs)().__mapping__()
    return table
