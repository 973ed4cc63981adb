"""What a workspace holds: one dataclass per thing the control plane keeps track of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modal_proto import api_pb2 as pb

from .volume_copies import MountedCopy

SUCCESS = pb.GenericResult.GENERIC_STATUS_SUCCESS
FAILURE = pb.GenericResult.GENERIC_STATUS_FAILURE
TERMINATED = pb.GenericResult.GENERIC_STATUS_TERMINATED
TIMEOUT = pb.GenericResult.GENERIC_STATUS_TIMEOUT


@dataclass
class Secret:
    id: str
    name: str
    values: dict[str, str]
    created: float


@dataclass
class Volume:
    """``folder`` is the committed state, which only commits and uploads change."""

    id: str
    name: str
    folder: Path
    metadata: pb.VolumeMetadata


@dataclass
class BilledHour:
    """What an object cost in an hour that began at ``start`` (seconds since 1970), in dollars by resource."""

    object_id: str
    description: str
    start: float
    dollars: dict[str, str]


@dataclass
class Table:
    """A Dict: pickled keys to pickled values."""

    id: str
    name: str
    entries: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Queue:
    """Partition key to pickled values, first in first out."""

    id: str
    name: str
    partitions: dict[bytes, list[bytes]] = field(default_factory=dict)


@dataclass
class Image:
    """A recorded build; nothing is built. ``python`` is the minor version of its base, if it names one."""

    id: str
    proto: pb.Image
    builder_version: str
    python: str | None


@dataclass
class App:
    id: str
    name: str
    state: int
    created: float = field(default_factory=time.time)
    stopped: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    deployments: int = 0
    log: list[tuple[str, str]] = field(default_factory=list)  # (task id, text)

    @property
    def done(self) -> bool:
        return self.state == pb.APP_STATE_STOPPED


@dataclass
class Function:
    """A function, a class's service function (tag ``Name.*``), or a variant of one (``base`` is set)."""

    id: str
    app_id: str
    name: str
    precreate: pb.FunctionPrecreateRequest | None = None
    proto: pb.Function | None = None
    data: pb.FunctionData | None = None
    definition_id: str = ""
    base: str = ""
    params: bytes = b""
    options: pb.FunctionOptions | None = None
    web_urls: dict[str, str] = field(default_factory=dict)  # method ("" for a plain function) -> url
    autoscaler: pb.AutoscalerSettings | None = None  # what `fn.autoscaler.update` asked for


@dataclass(eq=False)
class Input:
    """One unit of work; it keeps its id over preemptions and retries."""

    id: str
    index: int
    call: Call
    item: pb.FunctionInput
    retry_count: int = 0
    failures: int = 0
    crashes: int = 0
    ready_at: float = 0.0
    task_id: str = ""
    started_at: float = 0.0
    cancelled: bool = False


@dataclass(eq=False)
class Call:
    """A FunctionCall: its inputs, and their outputs in the order they came."""

    id: str
    function_id: str
    kind: int
    invocation: int
    retry: pb.FunctionRetryPolicy
    inputs: dict[str, Input] = field(default_factory=dict)
    outputs: list[tuple[int, pb.FunctionGetOutputsItem]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    sequence: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    data_in: list[pb.DataChunk] = field(default_factory=list)
    data_out: list[pb.DataChunk] = field(default_factory=list)

    @property
    def unfinished(self) -> int:
        return len(self.inputs) - len(self.done)

    @property
    def retried_by_server(self) -> bool:
        """Whether failures are retried here; for ``.remote`` and ``.map`` the client does it."""
        return self.invocation != pb.FUNCTION_CALL_INVOCATION_TYPE_SYNC


@dataclass(eq=False)
class Container:
    task_id: str
    function_id: str
    app_id: str
    function: str
    home: Path
    timeout: float
    startup_timeout: float
    copies: dict[str, MountedCopy]  # volume id -> this container's copy
    untrusted: bool = False
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None
    alive: bool = True
    draining: bool = False
    preempting: bool = False
    ready: bool = False  # it has asked for work
    running: set[str] = field(default_factory=set)  # input ids
    inputs_taken: int = 0
    started: float = field(default_factory=time.time)
    ended: float = 0.0
    idle_since: float | None = None
    committed: float = field(default_factory=time.monotonic)  # when a background commit was last made
    exit_code: int | None = None
    ended_by: str = ""
    start_error: str = ""
    leaked_modules: list[str] = field(default_factory=list)
    log_offset: int = 0

    @property
    def log_path(self) -> Path:
        return self.home / "log.txt"


@dataclass(eq=False)
class Fault:
    """Kill the first container of ``function`` that takes its ``nth`` input, ``after`` seconds later."""

    function: str
    nth: int
    after: float
    matches: Callable[[Container], bool]
