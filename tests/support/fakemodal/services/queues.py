"""Queues: partitions of pickled values; no time to live."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from ..records import Queue
from ..workspace import not_found
from .base import Service

MAX_ITEMS = 5_000


class Queues(Service):
    def _get(self, request: Any) -> Queue:
        queue = self.workspace.queues.get(request.queue_id)
        if queue is None:
            raise not_found(f"Queue {request.queue_id} not found")
        return queue

    async def QueueGetOrCreate(self, request: Any, stream: Any) -> pb.QueueGetOrCreateResponse:
        name = request.deployment_name
        queue = next((q for q in self.workspace.queues.values() if name and q.name == name), None)
        if queue is None:
            if name and request.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise not_found(f"Queue '{name}' not found in environment 'main'")
            queue = Queue(self.workspace.new_id("qu"), name)
            self.workspace.queues[queue.id] = queue
        return pb.QueueGetOrCreateResponse(queue_id=queue.id, metadata=pb.QueueMetadata(name=name))

    async def QueuePut(self, request: Any, stream: Any) -> None:
        partition = self._get(request).partitions.setdefault(request.partition_key, [])
        if len(partition) + len(request.values) > MAX_ITEMS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "queue is full")
        partition.extend(request.values)

    async def QueueGet(self, request: Any, stream: Any) -> pb.QueueGetResponse:
        end = time.monotonic() + request.timeout
        while True:
            partition = self._get(request).partitions.setdefault(request.partition_key, [])
            if partition or time.monotonic() >= end:
                count = request.n_values or 1
                taken, partition[:] = partition[:count], partition[count:]
                return pb.QueueGetResponse(values=taken)
            await asyncio.sleep(0.02)

    async def QueueLen(self, request: Any, stream: Any) -> pb.QueueLenResponse:
        partitions = self._get(request).partitions
        one = len(partitions.get(request.partition_key, []))
        return pb.QueueLenResponse(len=sum(map(len, partitions.values())) if request.total else one)

    async def QueueClear(self, request: Any, stream: Any) -> None:
        partitions = self._get(request).partitions
        if request.all_partitions:
            partitions.clear()
        else:
            partitions.pop(request.partition_key, None)

    async def QueueDelete(self, request: Any, stream: Any) -> None:
        del self.workspace.queues[self._get(request).id]
