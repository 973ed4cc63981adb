"""What the node answers over HTTP/1.1: the proxy, the genesis weights, and the fault switches."""

import json
import re

import httpx

from quickstart.chain.ids import Id32, blake2b_256, parse_id
from quickstart.chain.transactions import Manifest
from quickstart.devnet.codec import absolute
from quickstart.devnet.config import MODEL_NAMES
from quickstart.devnet.front import HttpRequest, HttpResponse
from quickstart.devnet.genesis import packaged_model
from quickstart.devnet.node import Node

PROXY_SECONDS = 30.0
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class HttpRoutes:
    """Answers one request at a time; holds no state but the node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The response to any request; unknown paths get 404."""
        path = request.path.split("?")[0]
        if path == "/fault":
            return self._fault(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(400, b"only GET and HEAD")
        faults = self._node.faults
        if faults.take("http_failures"):
            wait = faults.retry_after_seconds
            return HttpResponse(faults.http_status, b"fault", {} if wait is None else {"retry-after": str(wait)})
        folder, _, name = path.strip("/").partition("/")
        if folder == "weights" and name in MODEL_NAMES[: self._node.config.models]:
            return ranged(packaged_model(name).encrypted, request.headers.get("range"))
        if folder in ("data", "model"):
            return await self._proxy(folder, name)
        return HttpResponse(404, b"not found")

    def _fault(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            try:
                values = json.loads(request.body)
                self._node.faults.update(values)
            except (ValueError, AttributeError) as error:
                return HttpResponse(400, str(error).encode())
        body = json.dumps(self._node.faults.as_dict()).encode()
        return HttpResponse(200, body, {"content-type": "application/json"})

    async def _proxy(self, folder: str, name: str) -> HttpResponse:
        """Fetches a target's data or a model's encrypted weights from where they were published."""
        if len(name.removeprefix("0x")) != 64:
            return HttpResponse(400, f"Invalid resource ID: {name}".encode())
        try:
            resource = parse_id(name)
        except ValueError:
            return HttpResponse(400, f"Invalid resource ID: {name}".encode())
        manifest = self._data(resource) if folder == "data" else self._weights(resource)
        if manifest is None:
            return _failed("Validator returned error 404: not found")
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=PROXY_SECONDS, follow_redirects=True) as client:
                response = await client.get(absolute(manifest.url, self._node.base_url))
                response.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _failed(f"Validator returned error 502: {error}")
        if blake2b_256(response.content) != manifest.checksum:
            return _failed("Validator returned error 502: checksum mismatch")
        return HttpResponse(200, response.content)

    def _data(self, target_id: Id32) -> Manifest | None:
        target = self._node.state.target(target_id)
        return target.manifest if target else None

    def _weights(self, model_id: Id32) -> Manifest | None:
        model = self._node.state.models.get(model_id)
        return model.commitment.manifest if model and model.commitment else None


def ranged(data: bytes, header: str | None) -> HttpResponse:
    """All of `data`, or the one range that a Range header asks for."""
    headers = {"accept-ranges": "bytes"}
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return HttpResponse(200, data, headers)
    first = int(match[1])
    last = min(int(match[2]) if match[2] else len(data) - 1, len(data) - 1)
    if first > last:
        return HttpResponse(416, b"", {**headers, "content-range": f"bytes */{len(data)}"})
    return HttpResponse(206, data[first : last + 1], {**headers, "content-range": f"bytes {first}-{last}/{len(data)}"})


def _failed(reason: str) -> HttpResponse:
    return HttpResponse(502, f"Failed to fetch from validators: All 1 validators failed, last error: {reason}".encode())
