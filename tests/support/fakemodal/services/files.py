"""Mounted files, images (recorded, never built), blobs for large payloads."""

from __future__ import annotations

import re
import shutil
from typing import Any

from modal_proto import api_pb2 as pb

from ..http_side import sha256
from ..records import SUCCESS, Image
from ..workspace import not_found
from .base import Service

ANY_CHECKSUM = pb.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)


class Files(Service):
    async def MountBatchedCheckExistence(self, request: Any, stream: Any) -> pb.MountBatchedCheckExistenceResponse:
        folder = self.workspace.file_folder
        missing = [digest for digest in request.sha256_hex_hashes if not (folder / digest).exists()]
        return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def MountPutFile(self, request: Any, stream: Any) -> pb.MountPutFileResponse:
        path = self.workspace.file_folder / request.sha256_hex
        which = request.WhichOneof("data_oneof")
        if which == "data":
            path.write_bytes(request.data)
        elif which == "data_blob_id":
            shutil.copyfile(self.workspace.blob_folder / request.data_blob_id, path)
        return pb.MountPutFileResponse(exists=path.exists())

    async def MountGetOrCreate(self, request: Any, stream: Any) -> pb.MountGetOrCreateResponse:
        names, mounts = self.workspace.mount_names, self.workspace.mounts
        if request.deployment_name:  # Modal's own: the client's code, stand-alone Pythons
            key = request.deployment_name
        else:
            key = "content:" + sha256(b"".join(sorted(f"{f.filename}:{f.sha256_hex};".encode() for f in request.files)))
        mount_id = names.setdefault(key, self.workspace.new_id("mo"))
        mounts[mount_id] = [] if request.deployment_name else list(request.files)
        return pb.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=ANY_CHECKSUM)

    async def ImageGetOrCreate(self, request: Any, stream: Any) -> pb.ImageGetOrCreateResponse:
        recipe = request.image.SerializeToString(deterministic=True) + request.builder_version.encode()
        bases = (re.match(r"FROM python:(\d+\.\d+)", command) for command in request.image.dockerfile_commands)
        python = next((match[1] for match in bases if match), None)
        for base in request.image.base_images:
            python = python or self.workspace.images[base.image_id].python
        image = Image("im-" + sha256(recipe)[:22], request.image, request.builder_version, python)
        self.workspace.images[image.id] = image
        return pb.ImageGetOrCreateResponse(
            image_id=image.id, result=pb.GenericResult(status=SUCCESS), metadata=self._metadata(image)
        )

    async def ImageFromId(self, request: Any, stream: Any) -> pb.ImageFromIdResponse:
        image = self.workspace.images.get(request.image_id)
        if image is None:
            raise not_found(f"Image {request.image_id} not found")
        return pb.ImageFromIdResponse(image_id=image.id, metadata=self._metadata(image))

    @staticmethod
    def _metadata(image: Image) -> pb.ImageMetadata:
        version = f"Python {image.python}.0" if image.python else None
        return pb.ImageMetadata(image_builder_version=image.builder_version, python_version_info=version)

    async def BlobCreate(self, request: Any, stream: Any) -> pb.BlobCreateResponse:
        blob_id = self.workspace.new_id("bl")
        reply = pb.BlobCreateResponse(blob_id=blob_id, blob_ids=[blob_id])
        reply.upload_urls.items.append(f"{self.http_url}/blob/{blob_id}")
        return reply

    async def BlobGet(self, request: Any, stream: Any) -> pb.BlobGetResponse:
        return pb.BlobGetResponse(download_url=f"{self.http_url}/blob/{request.blob_id}")
