"""The pool of containers: started for waiting inputs, watched, interrupted, killed, scaled down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from modal_proto import api_pb2 as pb

from .container_files import SITECUSTOMIZE, MissingObject, copy_volumes, environment, lay_out_files
from .definitions import effective, layout
from .enter import View
from .mounts import ENTER, Links
from .records import FAILURE, TERMINATED, TIMEOUT, Container, Function, Input
from .rpc import TASK_HEADER
from .workspace import Workspace

TICK_SECONDS = 0.05
GRACE_SECONDS = 10.0  # from the interrupt to the kill of a container that missed it; Modal gives 30
FAILED_STARTS = 3  # containers that die before they ask for work, before their inputs fail
CRASHES_OF_A_RUN = 3  # of one input, before a run (not a deployment) gives it up
DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True)
class PoolSettings:
    """``hidden``: folders of the host that a container sees empty, so that it cannot import what was not mounted."""

    mode: str
    project: Path
    python: str = sys.executable
    per_function: int = 2
    idle_seconds: float = 2.0
    background_commit_seconds: float | None = None
    environment: dict[str, str] = field(default_factory=dict)
    hidden: tuple[Path, ...] = ()


class Pool:
    def __init__(self, workspace: Workspace, settings: PoolSettings) -> None:
        self.workspace = workspace
        self.settings = settings
        self.server_url = ""
        self.stopping = False
        self._links = Links()
        self._failed_starts: Counter[str] = Counter()
        self._background: set[asyncio.Task[None]] = set()
        self._shim = workspace.folder / "shim"
        self._shim.mkdir(exist_ok=True)
        (self._shim / "sitecustomize.py").write_text(SITECUSTOMIZE)

    # -- start

    async def start(self, function: Function) -> None:
        """Starts one container for a function; if that is impossible, what waits for it fails with the reason."""
        workspace = self.workspace
        task_id = workspace.new_id("ta")
        home = workspace.folder / "containers" / task_id
        files = home / "fs"
        definition = effective(workspace, function)
        lay_out_files(workspace, definition, files)
        try:
            variables = environment(workspace, definition)
            copies = copy_volumes(workspace, definition, home / "volumes")
        except MissingObject as exc:
            await self.start_failed(function.id, pb.GenericResult(status=FAILURE, exception=str(exc)))
            return
        timeout = float(definition.timeout_secs or DEFAULT_TIMEOUT)
        container = Container(
            task_id,
            function.id,
            function.app_id,
            function.name,
            home,
            timeout,
            float(definition.startup_timeout_secs or timeout),
            copies,
            definition.untrusted,
        )
        arguments = pb.ContainerArguments(
            task_id=task_id,
            function_id=function.id,
            app_id=function.app_id,
            function_def=definition,
            serialized_params=function.params,
            environment_name="main",
            app_layout=layout(workspace, workspace.apps[function.app_id]),
        )
        (home / "arguments.pb").write_bytes(arguments.SerializeToString())
        view = self._view(container, definition)
        own_root = view.mode in ("root", "user")
        variables |= self.settings.environment
        variables |= {
            "PYTHONPATH": f"{self._shim}:{'/root' if own_root else files / 'root'}",
            "PYTHONUNBUFFERED": "1",
            "MODAL_SERVER_URL": self.server_url,
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": task_id,
            "MODAL_ENVIRONMENT": "main",
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_REGION": "stand-in",
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_FAKE",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(home / "arguments.pb"),
            "MODAL_OVERRIDE_HEADERS": f"{TASK_HEADER}:{task_id}",
            "MODAL_HEARTBEAT_INTERVAL": "1",
            "FAKEMODAL_EXIT_REPORT": str(home / "exit.json"),
            "FAKEMODAL_PROJECT": str(self.settings.project),
            "FAKEMODAL_FILES": str(files),
            "NO_PROXY": "127.0.0.1,localhost",
        }
        command = [*ENTER, view.to_json(), self.settings.python, "-m", "modal._container_entrypoint"]
        workspace.containers[task_id] = container
        with container.log_path.open("wb") as log:
            container.process = await asyncio.create_subprocess_exec(
                *command,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        container.watcher = asyncio.create_task(self._watch(container, container.process))

    def _view(self, container: Container, definition: pb.Function) -> View:
        files = container.home / "fs"
        shown = []
        for mount in definition.volume_mounts:
            source = container.copies[mount.volume_id].folder / mount.sub_path.strip("/")
            shown.append((str(source), mount.mount_path, mount.read_only))
        if self.settings.mode in ("root", "user"):
            root, empty = container.home / "view", container.home / "empty"
            root.mkdir()
            empty.mkdir()
            hidden = [(str(empty), str(folder), True) for folder in self.settings.hidden if folder.is_dir()]
            return View(self.settings.mode, str(root), str(files), (*shown, *hidden), "/root")
        for source_name, at, _ in shown:
            if self.settings.mode == "none":
                self.workspace.notes.append(f"{container.function}: nothing is mounted at {at}")
            else:
                self._links.show(Path(at), container.home, Path(source_name))
        return View(self.settings.mode, directory=str(files / "root"))

    async def start_failed(self, function_id: str, result: pb.GenericResult) -> None:
        self.workspace.notes.append(f"container start failed: {result.exception}")
        waiting = self.workspace.waiting[function_id]
        while waiting:
            await self.workspace.finish(waiting.pop(), result)

    # -- watch

    async def _watch(self, container: Container, process: asyncio.subprocess.Process) -> None:
        container.exit_code = await process.wait()
        with contextlib.suppress(ProcessLookupError):  # children it left behind end with it
            os.killpg(process.pid, signal.SIGKILL)
        container.alive = False
        container.ended = time.time()
        self._read_log(container)
        with contextlib.suppress(FileNotFoundError, ValueError):  # killed before it could say
            container.leaked_modules = json.loads((container.home / "exit.json").read_text())["leaked_modules"]
        if not container.ready and not container.ended_by and not container.start_error:
            self._failed_starts[container.function_id] += 1
            if self._failed_starts[container.function_id] >= FAILED_STARTS:
                tail = container.log_path.read_text(errors="replace")[-500:]
                result = pb.GenericResult(status=FAILURE, exception=f"the container does not start: {tail}")
                await self.start_failed(container.function_id, result)
        for input_id in sorted(container.running):
            held = self.workspace.inputs[input_id]
            if input_id not in held.call.done and held.task_id == container.task_id:
                await self._lost(held, container)
        container.running.clear()

    async def _lost(self, held: Input, container: Container) -> None:
        """The container ended before this input did."""
        workspace, app = self.workspace, self.workspace.apps[container.app_id]
        if app.done or self.stopping or held.cancelled:
            await workspace.fail(held, "Input was cancelled: its container was stopped", TERMINATED)
            return
        if container.preempting:
            workspace.notes.append(f"{container.function}: {container.ended_by}, input {held.id} starts again")
            workspace.reschedule(held)
            return
        held.crashes += 1
        if app.state != pb.APP_STATE_DEPLOYED and held.crashes > CRASHES_OF_A_RUN:
            await workspace.fail(held, f"container exited with code {container.exit_code}")
            return
        workspace.notes.append(f"{container.function}: container died ({container.exit_code}), input {held.id} again")
        if held.crashes > 1:
            held.ready_at = time.time() + min(0.25 * 2**held.crashes, 30.0)  # a crash loop slows down
        workspace.reschedule(held)

    def _read_log(self, container: Container) -> None:
        with container.log_path.open("rb") as log:
            log.seek(container.log_offset)
            fresh = log.read()
        whole = fresh if not container.alive else fresh[: fresh.rfind(b"\n") + 1]
        container.log_offset += len(whole)
        if whole:
            lines = whole.decode(errors="replace").splitlines(keepends=True)
            self.workspace.apps[container.app_id].log += [(container.task_id, line) for line in lines]

    # -- end

    def signal(self, container: Container, number: signal.Signals) -> None:
        if container.alive and container.process is not None:
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(container.process.pid, number)
                else:
                    os.kill(container.process.pid, number)

    async def kill(self, container: Container, reason: str) -> None:
        container.ended_by = container.ended_by or reason
        self.signal(container, signal.SIGKILL)

    async def interrupt(self, container: Container, reason: str, grace: float = GRACE_SECONDS) -> None:
        """SIGINT, a time to say good-bye, the end. What it was running starts again, unless its app has stopped."""
        container.ended_by = reason
        container.draining = container.preempting = True
        if container.running or not container.ready:
            self.signal(container, signal.SIGINT)
        self._later(grace, container)

    def _later(self, seconds: float, container: Container, reason: str = "") -> None:
        async def kill() -> None:
            await asyncio.sleep(seconds)
            await self.kill(container, reason)

        task = asyncio.create_task(kill())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def strike(self, container: Container) -> None:
        """Applies an armed fault to a container that has just taken an input."""
        for fault in self.workspace.faults:
            if container.inputs_taken == fault.nth and fault.matches(container):
                self.workspace.faults.remove(fault)
                self._later(fault.after, container, "killed")
                return

    def drain(self, app_id: str) -> None:
        """A new deployment: containers of the one before finish what they have and take nothing more."""
        for container in self.workspace.containers.values():
            if container.alive and container.app_id == app_id:
                container.draining = True
        for function_id in self.workspace.apps[app_id].function_ids.values():
            self._failed_starts.pop(function_id, None)

    async def stop_app(self, app_id: str) -> None:
        for function in self.workspace.functions.values():
            waiting = self.workspace.waiting[function.id] if function.app_id == app_id else []
            while waiting:
                await self.workspace.fail(waiting.pop(), "App was stopped", TERMINATED)
        for container in self.workspace.containers.values():
            if container.alive and container.app_id == app_id:
                await self.interrupt(container, "app stopped")

    async def stop(self) -> None:
        """Everything ends, as gently as a scale-down where that is quick."""
        self.stopping = True
        alive = [c for c in self.workspace.containers.values() if c.alive]
        for container in alive:
            await self.interrupt(container, container.ended_by or "end of the stand-in")
        watchers = [container.watcher for container in alive if container.watcher]
        if watchers:
            await asyncio.wait(watchers, timeout=10)
            for container in alive:
                self.signal(container, signal.SIGKILL)
            await asyncio.wait(watchers)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._links.release()

    # -- scale

    async def run(self) -> None:
        """The autoscaler, until cancelled."""
        while not self.stopping:
            await asyncio.sleep(TICK_SECONDS)
            for container in [c for c in self.workspace.containers.values() if c.alive]:
                self._read_log(container)
                await self._check(container)
            for function_id, waiting in list(self.workspace.waiting.items()):
                due = [i for i in waiting if i.ready_at <= time.time() and not i.cancelled]
                if due:
                    await self._scale(self.workspace.functions[function_id], len(due))

    async def _check(self, container: Container) -> None:
        now = time.monotonic()
        every = self.settings.background_commit_seconds
        if every is not None and now - container.committed > every:
            container.committed = now
            for copy in container.copies.values():
                copy.commit()
        if not container.ready and time.time() - container.started > container.startup_timeout:
            await self.kill(container, "startup timeout")
            self._failed_starts[container.function_id] += 1
        if container.idle_since is not None and now - container.idle_since > self.settings.idle_seconds:
            container.draining = True
        for input_id in sorted(container.running):
            held = self.workspace.inputs[input_id]
            if now - held.started_at > container.timeout and held.task_id == container.task_id:
                await self._time_out(container, held)

    async def _time_out(self, container: Container, held: Input) -> None:
        container.running.discard(held.id)
        message = f"Task's current input hit its timeout of {container.timeout:.0f}s"
        self.workspace.notes.append(f"{container.function}: {message}")
        await self.workspace.fail_or_retry(held, pb.GenericResult(status=TIMEOUT, exception=message), None)
        await self.kill(container, "timeout")

    async def _scale(self, function: Function, due: int) -> None:
        definition = effective(self.workspace, function)
        containers = self.workspace.containers.values()
        taking = [c for c in containers if c.alive and c.function_id == function.id and not c.draining]
        slots = max(definition.max_concurrent_inputs, definition.batch_max_size, 1)
        free = sum(slots - len(c.running) for c in taking)
        limit = min(
            self.settings.per_function, definition.autoscaler_settings.max_containers or self.settings.per_function
        )
        if len(taking) < limit and due > free:
            await self.start(function)
