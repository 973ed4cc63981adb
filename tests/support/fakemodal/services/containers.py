"""Calls, as a container sees them: inputs fetched, outputs put, heartbeats, the news that it must go."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2 as pb

from ..records import SUCCESS, TERMINATED, Container, Input
from ..rpc import TASK_HEADER
from ..workspace import not_found
from .base import Service

INPUT_POLL_SECONDS = 10.0


class Containers(Service):
    def _me(self, stream: Any) -> Container:
        container = self.workspace.containers.get(stream.metadata.get(TASK_HEADER, ""))
        if container is None:
            raise not_found("no such container")
        return container

    async def ContainerHeartbeat(self, request: Any, stream: Any) -> pb.ContainerHeartbeatResponse:
        ids = self.workspace.cancellations.pop(self._me(stream).task_id, None)
        if not ids:
            return pb.ContainerHeartbeatResponse()
        return pb.ContainerHeartbeatResponse(cancel_input_event=pb.CancelInputEvent(input_ids=sorted(ids)))

    async def ContainerStop(self, request: Any, stream: Any) -> None:
        """By itself, or `modal container stop` and a `recreate` deployment: what it had is rescheduled."""
        container = self.workspace.containers.get(request.task_id)
        if container is None:
            raise not_found(f"Container {request.task_id} not found")
        container.draining = True
        if container.alive and container.running and stream.metadata.get(TASK_HEADER) != container.task_id:
            await self.pool.interrupt(container, "stopped")

    async def FunctionGetInputs(self, request: Any, stream: Any) -> pb.FunctionGetInputsResponse:
        """Waits for inputs of this container's function; a kill switch once the container is to go."""
        container = self._me(stream)
        container.ready = True
        if container.idle_since is None and not container.running:
            container.idle_since = time.monotonic()
        wanted = max(1, request.batch_max_size)
        end = time.monotonic() + INPUT_POLL_SECONDS
        linger_end: float | None = None
        while container.alive and time.monotonic() < end:  # a dead one would take an input with it
            if container.draining:
                return pb.FunctionGetInputsResponse(inputs=[pb.FunctionGetInputsItem(kill_switch=True)])
            waiting = self.workspace.waiting[request.function_id]
            due = [given for given in waiting if given.ready_at <= time.time() and not given.cancelled]
            if due and linger_end is None:
                linger = request.batch_linger_ms / 1000 if request.batch_max_size else 0.0
                linger_end = time.monotonic() + linger
            if due and linger_end is not None and (len(due) >= wanted or time.monotonic() >= linger_end):
                return pb.FunctionGetInputsResponse(inputs=[self._hand_over(i, container) for i in due[:wanted]])
            await asyncio.sleep(0.01)
        return pb.FunctionGetInputsResponse()

    def _hand_over(self, given: Input, container: Container) -> pb.FunctionGetInputsItem:
        self.workspace.waiting[given.call.function_id].remove(given)
        given.task_id, given.started_at = container.task_id, time.monotonic()
        container.running.add(given.id)
        container.inputs_taken += 1
        container.idle_since = None
        self.pool.strike(container)
        return pb.FunctionGetInputsItem(
            input_id=given.id,
            input=given.item,
            function_call_id=given.call.id,
            retry_count=given.retry_count,
            function_call_invocation_type=given.call.invocation,  # type: ignore[arg-type]
        )

    async def FunctionPutOutputs(self, request: Any, stream: Any) -> Empty:
        container = self._me(stream)
        for put in request.outputs:
            given = self.workspace.inputs.get(put.input_id)
            if given is None or given.task_id != container.task_id:
                continue  # a late answer: the input runs elsewhere by now
            if container.preempting and put.result.status == TERMINATED:
                continue  # how an async body reports the interrupt; the input starts again elsewhere
            container.running.discard(given.id)
            container.idle_since = None if container.running else time.monotonic()
            if put.result.status in (SUCCESS, TERMINATED):
                await self.workspace.finish(given, put.result, put)
            else:
                await self.workspace.fail_or_retry(given, put.result, put)
        return Empty()

    async def TaskResult(self, request: Any, stream: Any) -> None:
        """The container could not start (failing import, failing @enter): what waits for it fails with that."""
        container = self._me(stream)
        container.start_error = request.result.exception
        await self.pool.start_failed(container.function_id, request.result)
