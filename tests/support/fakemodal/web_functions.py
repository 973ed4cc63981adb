"""Web functions: one local port each, requests handed to containers as ASGI messages."""

from __future__ import annotations

import asyncio
import pickle
import time

from aiohttp import web
from modal._serialization import deserialize_data_format, serialize_data_format
from modal_proto import api_pb2 as pb

from .http_side import serve
from .records import SUCCESS, Call
from .workspace import Workspace

ASGI = pb.DATA_FORMAT_ASGI
LIMIT_SECONDS = 150  # what Modal gives one request before it redirects
DROPPED_HEADERS = {"content-length", "transfer-encoding"}


class WebFunctions:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._urls: dict[tuple[str, str], str] = {}
        self._runners: list[web.AppRunner] = []

    async def open(self, function_id: str, method: str) -> str:
        """The URL of a function, or of one method of a class; the same one over redeployments."""
        key = (function_id, method)
        if key not in self._urls:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, function_id, method)

            app = web.Application(client_max_size=1 << 32)
            app.router.add_route("*", "/{tail:.*}", handle)
            runner, self._urls[key] = await serve(app)
            self._runners.append(runner)
        return self._urls[key]

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _handle(self, request: web.Request, function_id: str, method: str) -> web.StreamResponse:
        function = self.workspace.functions[function_id]
        assert function.proto is not None, "a site opens while its function is being created"
        config = function.proto.method_definitions[method].webhook_config if method else function.proto.webhook_config
        authorised = request.headers.get("Modal-Key") and request.headers.get("Modal-Secret")
        if config.requires_proxy_auth and not authorised:
            return web.Response(status=401, text="modal-http: missing credentials for proxy authorization\n")
        legacy = pb.FUNCTION_CALL_INVOCATION_TYPE_SYNC_LEGACY
        call = self.workspace.start_call(function, pb.FUNCTION_CALL_TYPE_UNARY, legacy)
        await self._send(request, call, method)
        return await self._receive(request, call)

    async def _send(self, request: web.Request, call: Call, method: str) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "query_string": request.query_string.encode(),
            "client": (request.remote or "127.0.0.1", 0),
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
        }
        body = {"type": "http.request", "body": await request.read(), "more_body": False}
        call.data_in.append(pb.DataChunk(data_format=ASGI, index=1, data=serialize_data_format(body, ASGI)))
        arguments = pickle.dumps(((scope,), {}))
        given = pb.FunctionInput(args=arguments, data_format=pb.DATA_FORMAT_PICKLE, method_name=method)
        self.workspace.add_input(call, pb.FunctionPutInputsItem(idx=0, input=given))

    async def _receive(self, request: web.Request, call: Call) -> web.StreamResponse:
        last, response = 0, None
        end = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end:
            fresh = [chunk for chunk in call.data_out if chunk.index > last]
            for chunk in fresh:
                last = chunk.index
                blob = self.workspace.blob_folder / chunk.data_blob_id
                data = blob.read_bytes() if chunk.data_blob_id else chunk.data
                message = deserialize_data_format(data, chunk.data_format, None)
                if message["type"] == "http.response.start":
                    response = web.StreamResponse(status=message["status"])
                    for name, value in message["headers"]:
                        if name.decode().lower() not in DROPPED_HEADERS:
                            response.headers.add(name.decode(), value.decode())
                    await response.prepare(request)
                elif message["type"] == "http.response.body" and response is not None:
                    await response.write(message["body"])
                    if not message["more_body"]:
                        await response.write_eof()
                        return response
            if call.outputs and not fresh and call.outputs[-1][1].result.status != SUCCESS:
                reason = call.outputs[-1][1].result.exception
                return web.Response(status=500, text=f"modal-http: internal error: {reason}\n")
            await asyncio.sleep(0.01)
        return web.Response(status=303, text="modal-http: over 150 s\n")
