"""Stand-ins on loopback for where data comes from: the Hugging Face hub and the Software Heritage archive's bucket.

They answer what the real ones answer to huggingface_hub, `datasets` and plain HTTP: statuses, headers and the shape of
documents; file contents come from another host by redirect, as the hub's do, and that host wants to see no token.
Faults are injected by `Fault`.
"""

import gzip
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

GOOD_TOKEN, NEW_TOKEN, EXPIRED_TOKEN = "hf_" + "good" * 9, "hf_" + "fresh" * 7, "hf_" + "stale" * 7
"""A token whose owner has accepted all terms, one whose owner has accepted none, and one that is no longer valid."""

OpenSource = Callable[..., Any]
"""Opens a source by name at the stand-ins; `token` is what HF_TOKEN says."""

PAGE = 3
"""Entries of one page of a listing: small, so that the pages after the first are read too."""


@dataclass
class Fault:
    """What happens to the next `times` requests whose path contains `match`: a status, a connection cut after half the
    body, or other bytes."""

    match: str
    times: float = 1
    status: int | None = None
    retry_after: str | None = None
    cut: bool = False
    body: bytes | None = None


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Host:
    """An HTTP server of this process. `requests`: (method, path, range) of everything that was asked for."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str], bytes], Answer], latency: float = 0.0) -> None:
        self.answer, self.latency = answer, latency
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []
        self.in_flight = Counter[str]()
        self._lock = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                host._serve(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                """Silence."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Host":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self, part: str = "") -> list[str]:
        return [path for _, path, _ in self.requests if part in path]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        path = unquote(handler.path)
        with self._lock:
            self.requests.append((handler.command, path, handler.headers.get("Range", "")))
            fault = next((f for f in self.faults if f.times > 0 and f.match in path), None)
            if fault is not None:
                fault.times -= 1
            self.in_flight["now"] += 1
            self.in_flight["most"] = max(self.in_flight["most"], self.in_flight["now"])
        if self.latency:
            time.sleep(self.latency)
        with self._lock:
            self.in_flight["now"] -= 1
        try:
            self._send(handler, self._faulty(fault, handler.command, path, handler.headers, body), fault)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _faulty(self, fault: Fault | None, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if fault is not None and fault.status is not None:
            told = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            return Answer(fault.status, b"{}", told)
        answer = self.answer(method, path, headers, body)
        if fault is not None and fault.body is not None:
            answer.body = fault.body
        return answer

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, fault: Fault | None) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in answer.headers:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if fault is not None and fault.cut:
            handler.wfile.write(answer.body[: len(answer.body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            return
        handler.wfile.write(answer.body)


@dataclass
class Repository:
    """A data set: `files` by path, what its README declares, and whether it is gated."""

    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool = False
    _digests: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def revision(self) -> str:
        for data in self.files.values():
            if id(data) not in self._digests:
                self._digests[id(data)] = hashlib.sha1(data).digest()
        facts = b"".join(path.encode() + self._digests[id(data)] for path, data in sorted(self.files.items()))
        return hashlib.sha1(facts).hexdigest()


class HubStandIn:
    """The hub. `repositories` may change while it runs; earlier revisions stay readable."""

    def __init__(self, repositories: dict[str, Repository], latency: float = 0.0) -> None:
        self.repositories = repositories
        self.without_commits: set[str] = set()
        self._versions: dict[tuple[str, str], Repository] = {}
        self._remember()
        self.content = Host(self._content, latency)
        self.host = Host(self._answer, latency)

    def __enter__(self) -> "HubStandIn":
        self.content.__enter__()
        self.host.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.host.__exit__()
        self.content.__exit__()

    @property
    def url(self) -> str:
        return self.host.url

    def _remember(self) -> None:
        for name, repository in self.repositories.items():
            if (name, repository.revision) not in self._versions:
                copy = Repository(dict(repository.files), repository.card, repository.gated, repository._digests)
                self._versions[name, repository.revision] = copy

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self._remember()
        parts = urlsplit(path)
        words = parts.path.strip("/").split("/")
        api = words[0] == "api"
        if words[1 if api else 0] != "datasets":
            return Answer(404)
        name, rest = "/".join(words[2:4] if api else words[1:3]), words[4:] if api else words[3:]
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (GOOD_TOKEN, NEW_TOKEN):
            return _refusal(401, None, "Invalid credentials in Authorization header")
        if name in self.without_commits:
            return _refusal(404, "RevisionNotFound", "Invalid rev id: main")
        repository = self.repositories.get(name)
        if repository is None:
            known = (404, "Repository not found") if token else (401, "Invalid username or password.")
            return _refusal(known[0], "RepoNotFound", known[1])
        if not rest:
            return self._info(name, repository)
        if rest == ["auth-check"]:
            return _gate(name, repository, token) or _document({})
        verb, revision = rest[0], rest[1]
        wanted = repository if revision == "main" else self._versions.get((name, revision))
        if wanted is None:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if verb == "revision":
            return self._info(name, wanted)
        if verb == "tree":
            return self._tree(wanted, "/".join(rest[2:]), path)
        if verb == "paths-info":
            asked = parse_qs(body.decode()).get("paths", [])
            entries = [_entry(item, data) for item, data in wanted.files.items() if item in asked]
            folders = {item for item in asked if any(p.startswith(f"{item}/") for p in wanted.files)}
            return _document([*entries, *({"type": "directory", "path": f, "oid": "0" * 40} for f in sorted(folders))])
        if refusal := _gate(name, repository, token):
            return refusal
        item = "/".join(rest[2:])
        if item not in wanted.files:
            return _refusal(404, "EntryNotFound", "Entry not found")
        data = wanted.files[item]
        return Answer(
            302,
            b"",
            {
                "Location": f"{self.content.url}/{quote(f'{name}/{wanted.revision}/{item}')}",
                "X-Repo-Commit": wanted.revision,
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            },
        )

    def _content(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if "Authorization" in headers:
            return Answer(400, b"a token was sent to the content host")
        owner, name, revision, *rest = path.strip("/").split("/")
        data = self._versions[f"{owner}/{name}", revision].files["/".join(rest)]
        return _ranged(data, headers.get("Range"))

    def _info(self, name: str, repository: Repository) -> Answer:
        return _document(
            {
                "_id": "6" * 24,
                "id": name,
                "author": name.split("/")[0],
                "sha": repository.revision,
                "lastModified": "2024-04-23T15:52:32.000Z",
                "private": False,
                "gated": "auto" if repository.gated else False,
                "disabled": False,
                "tags": [],
                "downloads": 1,
                "likes": 1,
                "cardData": repository.card or None,
                "siblings": [{"rfilename": path} for path in sorted(repository.files)],
            }
        )

    def _tree(self, repository: Repository, folder: str, path: str) -> Answer:
        query = parse_qs(urlsplit(path).query)
        inside = sorted(item for item in repository.files if not folder or item.startswith(f"{folder}/"))
        if folder and not inside:
            return _refusal(404, "EntryNotFound", f"{folder} does not exist on main")
        if query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            inside = [item for item in inside if "/" not in item.removeprefix(folder).strip("/")]
        start = int(query.get("cursor", ["0"])[0])
        entries = [_entry(item, repository.files[item]) for item in inside[start : start + PAGE]]
        answer = _document(entries)
        if start + PAGE < len(inside):
            base = self.host.url + quote(urlsplit(path).path)
            answer.headers["Link"] = f'<{base}?recursive=true&cursor={start + PAGE}>; rel="next"'
        return answer


class ArchiveStandIn:
    """The archive's bucket: gzipped blobs under their git names."""

    def __init__(self, blobs: Mapping[str, bytes], latency: float = 0.0) -> None:
        self.objects = {name: gzip.compress(data, 6, mtime=0) for name, data in blobs.items()}
        self.host = Host(self._answer, latency)

    def __enter__(self) -> "ArchiveStandIn":
        self.host.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.host.__exit__()

    @property
    def url(self) -> str:
        return self.host.url

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        folder, _, name = path.strip("/").partition("/")
        data = self.objects.get(name) if folder == "content" else None
        if data is None:
            error = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
            return Answer(403, error, {"Content-Type": "application/xml"})
        return Answer(200, data, {"Content-Type": "binary/octet-stream"})


def git_name(data: bytes) -> str:
    """What git calls these bytes: the archive's key."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    lfs = {"oid": digest, "size": len(data), "pointerSize": 134}
    return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": path, "lfs": lfs}


def _gate(name: str, repository: Repository, token: str) -> Answer | None:
    """What somebody gets who has not accepted the terms; None for others."""
    if not repository.gated or token == GOOD_TOKEN:
        return None
    told = f"Access to dataset {name} is restricted" + (
        " and you are not in the authorized list." if token else ". You must be authenticated to access it."
    )
    return _refusal(403 if token else 401, "GatedRepo", told)


def _document(document: Any) -> Answer:
    return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _refusal(status: int, code: str | None, message: str) -> Answer:
    headers = {"X-Error-Message": message, "Content-Type": "application/json"}
    if code is not None:
        headers["X-Error-Code"] = code
    return Answer(status, json.dumps({"error": message}).encode(), headers)


def _ranged(data: bytes, wanted: str | None) -> Answer:
    if not wanted:
        return Answer(200, data, {"Accept-Ranges": "bytes"})
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(len(data), int(last) + 1 if last else len(data))
    return Answer(206, data[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})
