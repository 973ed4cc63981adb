"""Who is asking, and where: tokens, the workspace, its bill, its one environment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from grpclib import GRPCError, Status
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

    async def WorkspaceBillingReport(self, request: Any, stream: Any) -> AsyncIterator[pb.WorkspaceBillingReportItem]:
        """Every hour that was billed and begins within the time asked for, complete or not."""
        if self.workspace.bill is None:
            raise GRPCError(Status.PERMISSION_DENIED, "Billing reports are not part of this workspace's plan")
        start, end = (moment.ToSeconds() for moment in (request.start_timestamp, request.end_timestamp))
        for hour in self.workspace.bill:
            if start <= hour.start < end:
                item = pb.WorkspaceBillingReportItem(
                    object_id=hour.object_id,
                    description=hour.description,
                    environment_name="main",
                    cost=str(sum(map(Decimal, hour.dollars.values()))),
                    cost_by_resource=hour.dollars,
                )
                item.interval.FromSeconds(int(hour.start))
                yield item

    async def EnvironmentGetOrCreate(self, request: Any, stream: Any) -> pb.EnvironmentGetOrCreateResponse:
        settings = pb.EnvironmentSettings(image_builder_version=self.workspace.builder_version)
        metadata = pb.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        return pb.EnvironmentGetOrCreateResponse(environment_id="en-" + "0" * 22, metadata=metadata)
