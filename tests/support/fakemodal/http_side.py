"""HTTP on loopback: the blob store, Volume blocks, and a control endpoint for use by hand."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from aiohttp import web

from .workspace import Workspace

BLOCK_BYTES = 8 * 1024 * 1024  # a v2 Volume's unit of transfer


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    """Serves on a free port of 127.0.0.1; returns what to clean up, and the base URL."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


class Controls(Protocol):
    """What can be asked for over HTTP: the same as through the library."""

    async def control(self, verb: str, query: dict[str, str]) -> Any: ...


class HttpSide:
    def __init__(self, workspace: Workspace, controls: Controls) -> None:
        self.workspace = workspace
        self.controls = controls
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 40)
        app.router.add_put("/blob/{name:bl-[A-Za-z0-9]+}", self._put_blob)
        app.router.add_get("/blob/{name:bl-[A-Za-z0-9]+}", self._get_blob)
        app.router.add_put("/block/{name:[0-9a-f]{64}}", self._put_block)
        app.router.add_get("/volume/{path:.*}", self._get_volume_block)
        app.router.add_get("/report", self._control)
        app.router.add_post("/control/{verb}", self._control)
        self._runner, self.url = await serve(app)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _put_blob(self, request: web.Request) -> web.Response:
        data = await request.read()
        (self.workspace.blob_folder / request.match_info["name"]).write_bytes(data)
        checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()  # the client compares it
        return web.Response(headers={"ETag": f'"{checksum}"'})

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self.workspace.blob_folder / request.match_info["name"])

    async def _put_block(self, request: web.Request) -> web.Response:
        (self.workspace.file_folder / request.match_info["name"]).write_bytes(await request.read())
        return web.Response(body=b"stored")

    async def _get_volume_block(self, request: web.Request) -> web.Response:
        root = self.workspace.volume_folder.resolve()
        path = (root / request.match_info["path"]).resolve()
        if not path.is_relative_to(root):
            raise web.HTTPForbidden
        with path.open("rb") as file:
            file.seek(int(request.query.get("block", 0)) * BLOCK_BYTES)
            return web.Response(body=file.read(BLOCK_BYTES))

    async def _control(self, request: web.Request) -> web.Response:
        verb = request.match_info.get("verb", "report")
        try:
            answer = await self.controls.control(verb, dict(request.query))
        except (LookupError, ValueError) as exc:
            return web.json_response({"error": str(exc)}, status=400)
        return web.Response(text=json.dumps(answer, indent=2, default=str), content_type="application/json")
