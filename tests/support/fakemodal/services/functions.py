"""Functions and classes: created by deployments, looked up by name, bound to parameters and options."""

from __future__ import annotations

from typing import Any

from modal_proto import api_pb2 as pb

from ..definitions import function_data, handle_metadata, root
from ..http_side import sha256
from ..records import Function
from ..report import impossible
from ..workspace import invalid, not_found
from .base import Service


class Functions(Service):
    def _get(self, function_id: str) -> Function:
        function = self.workspace.functions.get(function_id)
        if function is None:
            raise not_found(f"Function {function_id} not found")
        return function

    def _existing_or_new(self, existing_id: str, app_id: str, name: str) -> Function:
        """A redeployment keeps the ids, so handles held by running callers reach the new version."""
        function = self.workspace.functions.get(existing_id)
        if function is None:
            function = Function(self.workspace.new_id("fu"), app_id, name)
            self.workspace.functions[function.id] = function
        return function

    async def FunctionPrecreate(self, request: Any, stream: Any) -> pb.FunctionPrecreateResponse:
        function = self._existing_or_new(request.existing_function_id, request.app_id, request.function_name)
        function.precreate = request
        if request.webhook_config.type:
            function.web_urls[""] = await self.sites.open(function.id, "")
        for method, definition in request.method_definitions.items():
            if definition.webhook_config.type:
                function.web_urls[method] = await self.sites.open(function.id, method)
        handle = handle_metadata(self.workspace, function)
        return pb.FunctionPrecreateResponse(function_id=function.id, handle_metadata=handle)

    async def FunctionCreate(self, request: Any, stream: Any) -> pb.FunctionCreateResponse:
        name = request.function.function_name or request.function_data.function_name
        function = self._existing_or_new(request.existing_function_id, request.app_id, name)
        if request.HasField("function_data"):
            function.data, function.proto = request.function_data, request.function_data.ranked_functions[0].function
        else:
            function.data, function.proto = None, request.function
        if self.workspace.strict and (reasons := impossible(function)):
            raise invalid(f"{name}: {'; '.join(reasons)}")
        function.definition_id = "de-" + sha256(function.proto.SerializeToString(deterministic=True))[:22]
        reply = pb.FunctionCreateResponse(
            function_id=function.id,
            handle_metadata=handle_metadata(self.workspace, function),
            function_data=function_data(self.workspace, function),
        )
        reply.function.CopyFrom(function.proto)
        reply.function.web_url = function.web_urls.get("", "")
        for method, url in function.web_urls.items():
            if method:
                reply.function.method_definitions[method].web_url = url
        return reply

    async def ClassCreate(self, request: Any, stream: Any) -> pb.ClassCreateResponse:
        class_id = request.existing_class_id or self.workspace.new_id("cs")
        return pb.ClassCreateResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())

    async def FunctionGet(self, request: Any, stream: Any) -> pb.FunctionGetResponse:
        function_id = self.workspace.deployed_app(request.app_name).function_ids.get(request.object_tag)
        if function_id is None:
            raise not_found(f"App '{request.app_name}' has no function '{request.object_tag}'")
        function = self._get(function_id)
        return pb.FunctionGetResponse(
            function_id=function_id,
            handle_metadata=handle_metadata(self.workspace, function),
            function=function_data(self.workspace, function),
        )

    async def FunctionGetById(self, request: Any, stream: Any) -> pb.FunctionGetByIdResponse:
        function = self._get(request.function_id)
        return pb.FunctionGetByIdResponse(
            handle_metadata=handle_metadata(self.workspace, function), function=function_data(self.workspace, function)
        )

    async def ClassGet(self, request: Any, stream: Any) -> pb.ClassGetResponse:
        class_id = self.workspace.deployed_app(request.app_name).class_ids.get(request.object_tag)
        if class_id is None:
            raise not_found(f"App '{request.app_name}' has no class '{request.object_tag}'")
        return pb.ClassGetResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata())

    async def FunctionBindParams(self, request: Any, stream: Any) -> pb.FunctionBindParamsResponse:
        base = root(self.workspace, self._get(request.function_id))
        options = request.function_options if request.HasField("function_options") else None
        wanted = (base.id, request.serialized_params, options)
        functions = self.workspace.functions
        bound = next((f for f in functions.values() if (f.base, f.params, f.options) == wanted), None)
        if bound is None:
            bound = Function(self.workspace.new_id("fu"), base.app_id, base.name, base=base.id)
            bound.params, bound.options = request.serialized_params, options
            functions[bound.id] = bound
        handle = handle_metadata(self.workspace, bound)
        return pb.FunctionBindParamsResponse(bound_function_id=bound.id, handle_metadata=handle)

    async def FunctionGetCurrentStats(self, request: Any, stream: Any) -> pb.FunctionStats:
        function = self._get(request.function_id)
        alive = sum(1 for _ in self.workspace.containers_of(function))
        return pb.FunctionStats(backlog=len(self.workspace.waiting[function.id]), num_total_tasks=alive)

    async def FunctionUpdateSchedulingParams(
        self, request: Any, stream: Any
    ) -> pb.FunctionUpdateSchedulingParamsResponse:
        function = self._get(request.function_id)
        function.autoscaler = function.autoscaler or pb.AutoscalerSettings()
        function.autoscaler.MergeFrom(request.settings)
        return pb.FunctionUpdateSchedulingParamsResponse(current_settings=function.autoscaler)

    async def FunctionGetDynamicConcurrency(
        self, request: Any, stream: Any
    ) -> pb.FunctionGetDynamicConcurrencyResponse:
        return pb.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency or 1)
