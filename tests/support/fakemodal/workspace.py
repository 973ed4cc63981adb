"""The state of the stand-in's one workspace: everything clients created, and the queues of work."""

from __future__ import annotations

import random
import shutil
import string
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from modal._utils.jwt_utils import DecodedJwt
from modal_proto import api_pb2 as pb

from .records import (
    FAILURE,
    App,
    BilledHour,
    Call,
    Container,
    Fault,
    Function,
    Image,
    Input,
    Queue,
    Secret,
    Table,
    Volume,
)

ALPHANUMERIC = string.ascii_letters + string.digits


def not_found(message: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, message)


def invalid(message: str) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, message)


class Workspace:
    """Plain tables by id, indexed by name where names are unique. Only the server's event loop touches them."""

    def __init__(self, folder: Path, *, builder_version: str, strict: bool) -> None:
        self.folder = folder
        self.builder_version = builder_version
        self.strict = strict
        self.apps: dict[str, App] = {}
        self.deployed: dict[str, str] = {}  # name -> app id
        self.functions: dict[str, Function] = {}
        self.images: dict[str, Image] = {}
        self.mounts: dict[str, list[pb.MountFile]] = {}
        self.mount_names: dict[str, str] = {}
        self.secrets: dict[str, Secret] = {}
        self.volumes: dict[str, Volume] = {}
        self.tables: dict[str, Table] = {}
        self.queues: dict[str, Queue] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.waiting: dict[str, list[Input]] = defaultdict(list)  # function id -> inputs
        self.cancellations: dict[str, set[str]] = defaultdict(set)  # task id -> input ids
        self.containers: dict[str, Container] = {}  # by task id
        self.faults: list[Fault] = []
        self.rpcs: dict[str, Counter[str]] = defaultdict(Counter)  # kind of client -> rpc
        self.unanswered: Counter[str] = Counter()
        self.errors: list[str] = []
        self.notes: list[str] = []
        self.bill: list[BilledHour] | None = None  # None: this plan has no billing reports
        self.client_python = self.client_version = ""
        self.blob_folder = folder / "blobs"
        self.file_folder = folder / "files"  # mounted files and volume blocks, by sha256
        self.volume_folder = folder / "volumes"
        for path in (self.blob_folder, self.file_folder, self.volume_folder):
            path.mkdir(parents=True, exist_ok=True)
        self._random = random.Random(0)

    def new_id(self, prefix: str) -> str:
        """Modal's shape: the client checks the prefix."""
        return f"{prefix}-" + "".join(self._random.choices(ALPHANUMERIC, k=22))

    # -- named objects

    def add_secret(self, name: str, values: dict[str, str]) -> Secret:
        secret = Secret(self.new_id("st"), name, dict(values), time.time())
        self.secrets[secret.id] = secret
        return secret

    def add_volume(self, name: str, version: int, source: Path | None = None) -> Volume:
        volume_id = self.new_id("vo")
        metadata = pb.VolumeMetadata(version=version, name=name, creation_info=self.creation())  # type: ignore[arg-type]
        folder = self.volume_folder / volume_id
        shutil.copytree(source, folder) if source else folder.mkdir()
        volume = Volume(volume_id, name, folder, metadata)
        self.volumes[volume.id] = volume
        return volume

    def secret_named(self, name: str) -> Secret | None:
        return next((s for s in self.secrets.values() if s.name == name), None)

    def volume_named(self, name: str) -> Volume | None:
        return next((v for v in self.volumes.values() if v.name == name), None)

    def creation(self) -> pb.CreationInfo:
        return pb.CreationInfo(created_at=time.time(), created_by="stand-in")

    # -- apps and functions

    def deployed_app(self, name: str) -> App:
        app_id = self.deployed.get(name)
        if app_id is None:
            raise not_found(f"App '{name}' not found in environment 'main'")
        return self.apps[app_id]

    def find_functions(self, name: str) -> list[Function]:
        """Functions of live apps by tag (``submitter``, ``Scorer.*``, or ``Scorer``) or ``app/tag``."""
        found = []
        for app in self.apps.values():
            for tag, function_id in app.function_ids.items():
                names = {tag, tag.removesuffix(".*")}
                if not app.done and name in names | {f"{app.name}/{n}" for n in names}:
                    found.append(self.functions[function_id])
        if not found:
            raise LookupError(f"no live app has a function {name!r}")
        return found

    def containers_of(self, function: Function) -> Iterator[Container]:
        """Live containers of a function or of a variant of it."""
        for container in self.containers.values():
            theirs = self.functions[container.function_id]
            if container.alive and function.id in (theirs.id, theirs.base):
                yield container

    # -- calls

    def token(self, **payload: Any) -> str:
        """An unsigned JWT; the client reads some of its fields."""
        return DecodedJwt.encode_without_signature(payload)

    def start_call(
        self, function: Function, kind: int, invocation: int, retry: pb.FunctionRetryPolicy | None = None
    ) -> Call:
        call = Call(self.new_id("fc"), function.id, kind, invocation, retry or pb.FunctionRetryPolicy())
        self.calls[call.id] = call
        return call

    def add_input(self, call: Call, item: pb.FunctionPutInputsItem) -> Input:
        added = Input(self.new_id("in"), item.idx, call, item.input)
        call.inputs[added.id] = self.inputs[added.id] = added
        self.waiting[call.function_id].append(added)
        return added

    async def finish(self, done: Input, result: pb.GenericResult, put: pb.FunctionPutOutputsItem | None = None) -> None:
        """Records the end of an input and wakes whoever waits for its call."""
        out = pb.FunctionGetOutputsItem(
            result=result, idx=done.index, input_id=done.id, task_id=done.task_id, retry_count=done.retry_count
        )
        out.data_format = put.data_format if put else pb.DATA_FORMAT_PICKLE
        if put:
            out.input_started_at, out.output_created_at = put.input_started_at, put.output_created_at
        call = done.call
        async with call.changed:
            call.sequence += 1
            call.outputs.append((call.sequence, out))
            call.done.add(done.id)
            call.changed.notify_all()

    async def fail(self, failed: Input, message: str, status: int = FAILURE) -> None:
        await self.finish(failed, pb.GenericResult(status=status, exception=message))  # type: ignore[arg-type]

    async def fail_or_retry(
        self, failed: Input, result: pb.GenericResult, put: pb.FunctionPutOutputsItem | None
    ) -> None:
        """Applies the function's retry policy where the server does so; else the failure is final."""
        policy = failed.call.retry
        if not failed.call.retried_by_server or failed.failures >= policy.retries:
            await self.finish(failed, result, put)
            return
        delay_ms = policy.initial_delay_ms * policy.backoff_coefficient**failed.failures
        failed.failures += 1
        failed.retry_count += 1
        failed.task_id = ""
        failed.ready_at = time.time() + min(delay_ms, policy.max_delay_ms or 60_000) / 1000
        self.waiting[failed.call.function_id].append(failed)

    def reschedule(self, again: Input) -> None:
        """The same input, from the start, in another container: no retry is counted."""
        again.task_id = ""
        self.waiting[again.call.function_id].insert(0, again)
