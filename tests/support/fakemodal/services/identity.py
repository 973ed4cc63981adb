"""Who is asking, and where: tokens, the workspace, its one environment."""

from __future__ import annotations

import time
from typing import Any

from modal_proto import api_pb2 as pb

from .base import Service


class Identity(Service):
    async def ClientHello(self, request: Any, stream: Any) -> pb.ClientHelloResponse:
        return pb.ClientHelloResponse(image_builder_version=self.workspace.builder_version)

    async def AuthTokenGet(self, request: Any, stream: Any) -> pb.AuthTokenGetResponse:
        now = int(time.time())
        return pb.AuthTokenGetResponse(token=self.workspace.token(exp=now + 3600, iat=now))

    async def TokenInfoGet(self, request: Any, stream: Any) -> pb.TokenInfoGetResponse:
        token_id = stream.metadata.get("x-modal-token-id", "")
        return pb.TokenInfoGetResponse(token_id=token_id, workspace_name="stand-in", workspace_id="ac-" + "0" * 22)

    async def WorkspaceNameLookup(self, request: Any, stream: Any) -> pb.WorkspaceNameLookupResponse:
        return pb.WorkspaceNameLookupResponse(workspace_name="stand-in", username="stand-in")

    async def EnvironmentGetOrCreate(self, request: Any, stream: Any) -> pb.EnvironmentGetOrCreateResponse:
        settings = pb.EnvironmentSettings(image_builder_version=self.workspace.builder_version)
        metadata = pb.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        return pb.EnvironmentGetOrCreateResponse(environment_id="en-" + "0" * 22, metadata=metadata)
