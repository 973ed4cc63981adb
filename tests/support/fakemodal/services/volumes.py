"""Volumes: the committed state from outside, commit and reload from inside a container."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from ..http_side import BLOCK_BYTES
from ..records import Container, Volume
from ..rpc import TASK_HEADER
from ..volume_copies import MountedCopy, open_files
from ..workspace import invalid, not_found
from .base import Service


class Volumes(Service):
    def _get(self, volume_id: str) -> Volume:
        volume = self.workspace.volumes.get(volume_id)
        if volume is None:
            raise not_found(f"Volume {volume_id} not found")
        return volume

    async def VolumeGetOrCreate(self, request: Any, stream: Any) -> pb.VolumeGetOrCreateResponse:
        name, how = request.deployment_name, request.object_creation_type
        volume = self.workspace.volume_named(name) if name else None
        if volume is None:
            if how == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
                if self.workspace.strict:
                    raise not_found(f"Volume '{name}' not found in environment 'main'")
                self.workspace.notes.append(f"volume {name!r} did not exist, and nothing would create it; made")
            volume = self.workspace.add_volume(name, request.version or pb.VOLUME_FS_VERSION_V1)
        elif how == pb.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Volume '{name}' already exists")
        return pb.VolumeGetOrCreateResponse(
            volume_id=volume.id, version=volume.metadata.version, metadata=volume.metadata
        )

    async def VolumeGetById(self, request: Any, stream: Any) -> pb.VolumeGetByIdResponse:
        volume = self._get(request.volume_id)
        return pb.VolumeGetByIdResponse(volume_id=volume.id, metadata=volume.metadata)

    async def VolumeList(self, request: Any, stream: Any) -> pb.VolumeListResponse:
        reply = pb.VolumeListResponse(environment_name="main")
        for volume in self.workspace.volumes.values():
            if volume.name:
                created = volume.metadata.creation_info.created_at
                reply.items.add(label=volume.name, volume_id=volume.id, created_at=created, metadata=volume.metadata)
        return reply

    async def VolumeDelete(self, request: Any, stream: Any) -> None:
        del self.workspace.volumes[self._get(request.volume_id).id]

    # -- inside a container

    def _mounted(self, volume_id: str, stream: Any) -> tuple[Container, MountedCopy]:
        container = self.workspace.containers.get(stream.metadata.get(TASK_HEADER, ""))
        copy = container.copies.get(volume_id) if container else None
        if container is None or copy is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Volume {volume_id} is not mounted here")
        return container, copy

    async def VolumeCommit(self, request: Any, stream: Any) -> pb.VolumeCommitResponse:
        """Puts this container's writes into the committed state; does not show it the writes of others."""
        self._get(request.volume_id)
        self._mounted(request.volume_id, stream)[1].commit()
        return pb.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: Any, stream: Any) -> None:
        self._get(request.volume_id)
        container, copy = self._mounted(request.volume_id, stream)
        assert container.process is not None, "only a started container can ask"
        held = open_files(copy.folder, container.process.pid)
        if held:
            message = f"there are open files preventing the operation: {', '.join(held[:3])}"
            raise GRPCError(Status.FAILED_PRECONDITION, message)
        copy.reload()

    # -- from outside: the committed state

    def _path(self, volume_id: str, path: str) -> Path:
        folder = self._get(volume_id).folder
        resolved = (folder / path.lstrip("/")).resolve()
        if not resolved.is_relative_to(folder.resolve()):
            raise invalid("path escapes the volume")
        return resolved

    def _place(self, request: Any, name: str) -> Path:
        path = self._path(request.volume_id, name)
        if path.exists() and request.disallow_overwrite_existing_files:
            raise GRPCError(Status.ALREADY_EXISTS, f"{name}: already exists")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    async def VolumePutFiles(self, request: Any, stream: Any) -> None:
        for file in request.files:
            path = self._place(request, file.filename)
            shutil.copyfile(self.workspace.file_folder / file.sha256_hex, path)

    async def VolumePutFiles2(self, request: Any, stream: Any) -> pb.VolumePutFiles2Response:
        """Names the blocks it lacks; the client uploads them and asks again."""
        reply = pb.VolumePutFiles2Response()
        for file_index, file in enumerate(request.files):
            for block_index, block in enumerate(file.blocks):
                digest = block.contents_sha256.hex()
                if not (self.workspace.file_folder / digest).exists():
                    url = f"{self.http_url}/block/{digest}"
                    reply.missing_blocks.add(file_index=file_index, block_index=block_index, put_url=url)
        if not reply.missing_blocks:
            for file in request.files:
                with self._place(request, file.path).open("wb") as out:
                    for block in file.blocks:
                        out.write((self.workspace.file_folder / block.contents_sha256.hex()).read_bytes())
                    out.truncate(file.size)
        return reply

    def _list(self, request: Any, reply: Any) -> Any:
        folder = self._get(request.volume_id).folder.resolve()
        start = self._path(request.volume_id, request.path)
        if not start.exists():
            raise not_found(f"{request.path}: no such file or directory")
        paths = [start] if start.is_file() else sorted(start.rglob("*") if request.recursive else start.iterdir())
        for path in paths:
            status = path.stat()
            reply.entries.add(
                path=str(path.relative_to(folder)),
                size=0 if path.is_dir() else status.st_size,
                mtime=int(status.st_mtime),
                type=pb.FileEntry.DIRECTORY if path.is_dir() else pb.FileEntry.FILE,
            )
        return reply

    async def VolumeListFiles(self, request: Any, stream: Any) -> AsyncIterator[pb.VolumeListFilesResponse]:
        yield self._list(request, pb.VolumeListFilesResponse())

    async def VolumeListFiles2(self, request: Any, stream: Any) -> AsyncIterator[pb.VolumeListFiles2Response]:
        yield self._list(request, pb.VolumeListFiles2Response())

    async def VolumeGetFile2(self, request: Any, stream: Any) -> pb.VolumeGetFile2Response:
        path = self._path(request.volume_id, request.path)
        if not path.is_file():
            raise not_found(f"{request.path}: no such file")
        size = path.stat().st_size
        relative = path.relative_to(self.workspace.volume_folder.resolve())
        blocks = range(-(-size // BLOCK_BYTES))
        urls = [f"{self.http_url}/volume/{relative}?block={i}" for i in blocks]
        return pb.VolumeGetFile2Response(get_urls=urls, size=size, start=0, len=size)

    async def VolumeGetFile(self, request: Any, stream: Any) -> pb.VolumeGetFileResponse:
        path = self._path(request.volume_id, request.path)
        if not path.is_file():
            raise not_found(f"{request.path}: no such file")
        data = path.read_bytes()
        return pb.VolumeGetFileResponse(data=data, size=len(data), start=0, len=len(data))

    def _remove(self, request: Any) -> None:
        path = self._path(request.volume_id, request.path)
        if not path.exists():
            raise not_found(f"{request.path}: no such file")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    async def VolumeRemoveFile(self, request: Any, stream: Any) -> None:
        self._remove(request)

    async def VolumeRemoveFile2(self, request: Any, stream: Any) -> None:
        self._remove(request)
