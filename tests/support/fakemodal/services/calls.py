"""Calls, as the caller sees them: inputs put, outputs waited for, retries asked for, calls found again or cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from modal._utils.jwt_utils import DecodedJwt
from modal_proto import api_pb2 as pb

from ..definitions import effective
from ..records import TERMINATED, Call, Input
from ..workspace import not_found
from .base import Service

CHUNK_POLL_SECONDS = 50.0
MAX_OUTSTANDING = 1_000


class Calls(Service):
    def _get(self, call_id: str) -> Call:
        call = self.workspace.calls.get(call_id)
        if call is None:
            raise not_found(f"FunctionCall {call_id} not found")
        return call

    def _input_token(self, given: Input) -> str:
        return self.workspace.token(id=given.id, idx=given.index, n=given.retry_count)

    async def FunctionMap(self, request: Any, stream: Any) -> pb.FunctionMapResponse:
        """Starts a call of any kind, of one input or many."""
        function = self.workspace.functions.get(request.function_id)
        if function is None or self.workspace.apps[function.app_id].done:
            raise not_found(f"Function {request.function_id} not found, or its app is stopped")
        retry = effective(self.workspace, function).retry_policy
        call = self.workspace.start_call(
            function, request.function_call_type, request.function_call_invocation_type, retry
        )
        reply = pb.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=self.workspace.token(fc=call.id),
            max_inputs_outstanding=MAX_OUTSTANDING,
            sync_client_retries_enabled=True,
            retry_policy=retry,
        )
        for item in request.pipelined_inputs:
            added = self.workspace.add_input(call, item)
            reply.pipelined_inputs.add(idx=added.index, input_id=added.id, input_jwt=self._input_token(added))
        return reply

    async def FunctionPutInputs(self, request: Any, stream: Any) -> pb.FunctionPutInputsResponse:
        call = self._get(request.function_call_id)
        reply = pb.FunctionPutInputsResponse()
        for item in request.inputs:
            added = self.workspace.add_input(call, item)
            reply.inputs.add(idx=added.index, input_id=added.id, input_jwt=self._input_token(added))
        return reply

    async def FunctionFinishInputs(self, request: Any, stream: Any) -> None:
        self._get(request.function_call_id)

    async def FunctionRetryInputs(self, request: Any, stream: Any) -> pb.FunctionRetryInputsResponse:
        reply = pb.FunctionRetryInputsResponse()
        for item in request.inputs:
            input_id = DecodedJwt.decode_without_verification(item.input_jwt).payload["id"]
            again = self.workspace.inputs[input_id]
            async with again.call.changed:
                if again.call.kind == pb.FUNCTION_CALL_TYPE_UNARY:
                    again.call.outputs.clear()
                again.call.done.discard(again.id)
            again.retry_count = item.retry_count or again.retry_count + 1
            self.workspace.waiting[again.call.function_id].append(again)
            reply.input_jwts.append(self._input_token(again))
        return reply

    async def FunctionGetOutputs(self, request: Any, stream: Any) -> pb.FunctionGetOutputsResponse:
        """Waits up to the timeout asked for, then answers with what there is."""
        call = self._get(request.function_call_id)
        last = int((request.last_entry_id or "0-0").split("-")[0])

        def new_ones() -> list[tuple[int, pb.FunctionGetOutputsItem]]:
            if request.HasField("start_idx"):
                latest = {out.idx: (sequence, out) for sequence, out in call.outputs}
                return [latest[i] for i in sorted(latest) if request.start_idx <= i <= request.end_idx]
            return [(sequence, out) for sequence, out in call.outputs if sequence > last]

        async with call.changed:
            try:
                async with asyncio.timeout(request.timeout):
                    await call.changed.wait_for(new_ones)
            except TimeoutError:
                pass
            found = new_ones()
        return pb.FunctionGetOutputsResponse(
            outputs=[out for _, out in found],
            idxs=[out.idx for _, out in found],
            last_entry_id=f"{found[-1][0]}-0" if found else (request.last_entry_id or "0-0"),
            num_unfinished_inputs=call.unfinished,
        )

    async def FunctionCallFromId(self, request: Any, stream: Any) -> pb.FunctionCallFromIdResponse:
        call = self._get(request.function_call_id)
        function = self.workspace.functions[call.function_id]
        metadata = pb.FunctionCallHandleMetadata(app_id=function.app_id, function_id=function.id)
        return pb.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=len(call.inputs), metadata=metadata)

    async def FunctionCallCancel(self, request: Any, stream: Any) -> None:
        """Waiting inputs end at once; running ones when their container hears of it with its next heartbeat."""
        call = self._get(request.function_call_id)
        waiting = self.workspace.waiting[call.function_id]
        for given in call.inputs.values():
            if given.id in call.done:
                continue
            given.cancelled = True
            if given in waiting:
                waiting.remove(given)
                await self.workspace.fail(given, "Input was cancelled by user", TERMINATED)
            elif given.task_id and request.terminate_containers:
                await self.pool.kill(self.workspace.containers[given.task_id], "cancelled")
            elif given.task_id:
                self.workspace.cancellations[given.task_id].add(given.id)

    # -- what generators yield, and what web functions stream

    async def FunctionCallGetDataOut(self, request: Any, stream: Any) -> AsyncIterator[pb.DataChunk]:
        async for chunk in self._follow(self._get(request.function_call_id).data_out, request.last_index):
            yield chunk

    async def FunctionCallGetDataIn(self, request: Any, stream: Any) -> AsyncIterator[pb.DataChunk]:
        async for chunk in self._follow(self._get(request.function_call_id).data_in, request.last_index):
            yield chunk

    @staticmethod
    async def _follow(chunks: list[pb.DataChunk], last: int) -> AsyncIterator[pb.DataChunk]:
        end = time.monotonic() + CHUNK_POLL_SECONDS
        while time.monotonic() < end:
            for chunk in [chunk for chunk in chunks if chunk.index > last]:
                last = chunk.index
                yield chunk
            await asyncio.sleep(0.01)

    async def FunctionCallPutDataOut(self, request: Any, stream: Any) -> None:
        """A generator that runs again starts at its first chunk; what is there stays."""
        call = self._get(request.function_call_id)
        known = {chunk.index for chunk in call.data_out}
        call.data_out.extend(chunk for chunk in request.data_chunks if chunk.index not in known)
