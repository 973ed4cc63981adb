"""Dicts. Keys and values stay pickled; ``if_not_exists`` is the one atomic test-and-set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from ..records import Table
from ..workspace import not_found
from .base import Service

MAX_ENTRIES_PER_UPDATE = 10_000
MAX_VALUE_BYTES = 100 * 1024 * 1024


class Dicts(Service):
    def _get(self, request: Any) -> Table:
        table = self.workspace.tables.get(request.dict_id)
        if table is None:
            raise not_found(f"Dict {request.dict_id} not found")
        return table

    async def DictGetOrCreate(self, request: Any, stream: Any) -> pb.DictGetOrCreateResponse:
        name = request.deployment_name
        table = next((t for t in self.workspace.tables.values() if name and t.name == name), None)
        if table is None:
            if name and request.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise not_found(f"Dict '{name}' not found in environment 'main'")
            table = Table(self.workspace.new_id("di"), name)
            self.workspace.tables[table.id] = table
        elif request.object_creation_type == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Dict '{name}' already exists")
        return pb.DictGetOrCreateResponse(dict_id=table.id, metadata=pb.DictMetadata(name=name))

    async def DictGetById(self, request: Any, stream: Any) -> pb.DictGetByIdResponse:
        table = self._get(request)
        return pb.DictGetByIdResponse(dict_id=table.id, metadata=pb.DictMetadata(name=table.name))

    async def DictUpdate(self, request: Any, stream: Any) -> pb.DictUpdateResponse:
        """``created`` is true when every key given was new: what ``put(skip_if_exists=True)`` returns."""
        if len(request.updates) > MAX_ENTRIES_PER_UPDATE:
            raise GRPCError(Status.INVALID_ARGUMENT, f"at most {MAX_ENTRIES_PER_UPDATE} entries in one update")
        if any(len(entry.value) > MAX_VALUE_BYTES for entry in request.updates):
            raise GRPCError(Status.INVALID_ARGUMENT, f"a value is larger than {MAX_VALUE_BYTES} bytes")
        entries = self._get(request).entries
        created = all(entry.key not in entries for entry in request.updates)
        for entry in request.updates:
            if not (request.if_not_exists and entry.key in entries):
                entries[entry.key] = entry.value
        return pb.DictUpdateResponse(created=created)

    async def DictGet(self, request: Any, stream: Any) -> pb.DictGetResponse:
        entries = self._get(request).entries
        return pb.DictGetResponse(found=request.key in entries, value=entries.get(request.key))

    async def DictContains(self, request: Any, stream: Any) -> pb.DictContainsResponse:
        return pb.DictContainsResponse(found=request.key in self._get(request).entries)

    async def DictPop(self, request: Any, stream: Any) -> pb.DictPopResponse:
        entries = self._get(request).entries
        return pb.DictPopResponse(found=request.key in entries, value=entries.pop(request.key, None))

    async def DictLen(self, request: Any, stream: Any) -> pb.DictLenResponse:
        return pb.DictLenResponse(len=len(self._get(request).entries))

    async def DictClear(self, request: Any, stream: Any) -> None:
        self._get(request).entries.clear()

    async def DictContents(self, request: Any, stream: Any) -> AsyncIterator[pb.DictEntry]:
        for key, value in list(self._get(request).entries.items()):
            yield pb.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")

    async def DictList(self, request: Any, stream: Any) -> pb.DictListResponse:
        reply = pb.DictListResponse(environment_name="main")
        for table in self.workspace.tables.values():
            if table.name:
                reply.dicts.add(name=table.name, dict_id=table.id, metadata=pb.DictMetadata(name=table.name))
        return reply

    async def DictDelete(self, request: Any, stream: Any) -> None:
        del self.workspace.tables[self._get(request).id]
