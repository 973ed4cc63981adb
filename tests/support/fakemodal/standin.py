"""The stand-in as one object: a control plane on loopback, the containers it starts, and the faults a test arms."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from grpclib.server import Server
from modal_proto import api_pb2 as pb

from . import report
from .definitions import effective
from .http_side import HttpSide
from .mounts import MODES, available_modes
from .pool import GRACE_SECONDS, Pool, PoolSettings
from .records import SUCCESS, Container, Fault
from .rpc import Router
from .services import make_services
from .web_functions import WebFunctions
from .workspace import Workspace

T = TypeVar("T")
TOKEN = ("ak-standin", "as-standin")
BUILDER_VERSION = "2026.10"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of one input ended. ``status``: success, failure, timeout, terminated."""

    status: str
    value: Any  # what it returned; None unless it succeeded
    exception: str


class FakeModal:
    """A Modal workspace on 127.0.0.1, from ``with`` to the end of it; nothing it started outlives that.

    ``project`` is what is deployed: commands run in it, and containers must not import from it (its ``src`` is hidden
    from them where namespaces are possible). ``secrets`` and ``volumes`` (name to a folder, or None for an empty one)
    exist from the start. ``strict`` refuses what Modal's server refuses; without it missing secrets and volumes are
    made up and noted. ``containers_per_function`` caps what the apps ask for; ``idle_seconds`` replaces their
    ``scaledown_window``. ``mode`` forces one of `mounts.MODES`. ``container_environment`` is added to every container.
    ``background_commit_seconds`` commits every volume that often, as Modal does every few seconds; without it only
    `commit`, `reload` and the exit of a container do, so that a test sees what would be lost or hidden meanwhile.

    The server runs on an event loop in a thread of its own. Every method may be called from any other thread.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        project: Path | None = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        volumes: Mapping[str, Path | None] | None = None,
        strict: bool = True,
        containers_per_function: int = 2,
        idle_seconds: float = 2.0,
        mode: str | None = None,
        python: str = sys.executable,
        background_commit_seconds: float | None = None,
        container_environment: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        if mode not in (None, *MODES):
            raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.project = (project or Path.cwd()).resolve()
        self.mode = mode or next(iter(available_modes(self.workdir)))
        self.workspace = Workspace(self.workdir / "workspace", builder_version=BUILDER_VERSION, strict=strict)
        settings = PoolSettings(
            mode=self.mode,
            project=self.project,
            python=python,
            per_function=containers_per_function,
            idle_seconds=idle_seconds,
            background_commit_seconds=background_commit_seconds,
            environment=dict(container_environment or {}),
            hidden=(self.project / "src",),
        )
        self.pool = Pool(self.workspace, settings)
        self.url = ""
        self._python = python
        self._port = port
        self._http = HttpSide(self.workspace, self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="fakemodal", daemon=True)
        self._started = threading.Event()
        for name, values in (secrets or {}).items():
            self.workspace.add_secret(name, dict(values))
        for name, source in (volumes or {}).items():
            self.workspace.add_volume(name, pb.VOLUME_FS_VERSION_V2, source)

    # -- life

    def start(self) -> None:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ends every container and the server; the report can still be read."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def wait(self) -> None:
        """Until the control endpoint is told to stop."""
        self._thread.join()

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        sites = WebFunctions(self.workspace)
        await self._http.start()
        services = make_services(self.workspace, self.pool, sites, self._http.url)
        server = Server([Router(self.workspace, services, TOKEN)])
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            await server.start(sock=listener)
        except OSError as exc:  # the port is taken: `start` raises it in the thread that asked
            self._failure = exc
            listener.close()
            await self._http.stop()
            self._started.set()
            return
        self.url = self.pool.server_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        scaler = asyncio.create_task(self.pool.run())
        self._started.set()
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({scaler, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if scaler.done() and (failure := scaler.exception()):
                self.workspace.errors.append(f"the autoscaler ended: {failure!r}")
                await stopped
        finally:
            await self.pool.stop()
            scaler.cancel()
            await asyncio.gather(scaler, return_exceptions=True)
            await sites.stop()
            await self._http.stop()
            server.close()
            await asyncio.wait_for(server.wait_closed(), 10)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "start first"
        if not self._thread.is_alive():
            return asyncio.run(work)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- clients

    @property
    def environment(self) -> dict[str, str]:
        """For client processes: this process's variables, without its own Modal settings, with the stand-in's."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("MODAL_")}
        return mine | {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": TOKEN[0],
            "MODAL_TOKEN_SECRET": TOKEN[1],
            "MODAL_CONFIG_PATH": str(self.workdir / "modal.toml"),
            "MODAL_LOGLEVEL": "WARNING",
            "FAKEMODAL_HTTP": self._http.url,
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def command(
        self, *argv: str, timeout: float = 60.0, environment: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a client command in the project; its whole process group ends with it or with the timeout.

        Raises `AssertionError` with the output when ``check`` is set and it exits otherwise than 0.
        """
        process = self.popen(*argv, environment=environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"{argv} took over {timeout} s:\n{output}") from None
        if check:
            assert process.returncode == 0, f"{argv} exited {process.returncode}:\n{output}"
        return subprocess.CompletedProcess(argv, process.returncode, output)

    def popen(self, *argv: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A client command that goes on beside the test, as leader of a process group; output in one stream."""
        return subprocess.Popen(
            argv,
            cwd=self.project,
            env=self.environment | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def modal(self, *arguments: str, timeout: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The Modal CLI, as ``modal ARGUMENTS``."""
        return self.command(self._python, "-m", "modal", *arguments, timeout=timeout, check=check)

    def run_python(self, code: str, *, timeout: float = 60.0, check: bool = True) -> str:
        """A client process that runs ``code``; returns what it printed, stripped."""
        return self.command(self._python, "-c", code, timeout=timeout, check=check).stdout.strip()

    # -- what a test does to it

    def fire(self, function: str | None = None) -> list[str]:
        """Calls every scheduled function of deployed apps (or one) as the schedule would; returns the call ids."""

        async def work() -> list[str]:
            wanted = {f.id for f in self.workspace.find_functions(function)} if function else None
            fired = []
            for app in self.workspace.apps.values():
                for function_id in app.function_ids.values() if app.state == pb.APP_STATE_DEPLOYED else ():
                    scheduled = self.workspace.functions[function_id]
                    schedule = (
                        scheduled.data.schedule if scheduled.data else effective(self.workspace, scheduled).schedule
                    )
                    if report.describe_schedule(schedule) is None or (wanted is not None and function_id not in wanted):
                        continue
                    call = self.workspace.start_call(
                        scheduled,
                        pb.FUNCTION_CALL_TYPE_UNARY,
                        pb.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
                        effective(self.workspace, scheduled).retry_policy,
                    )
                    nothing = pb.FunctionInput(data_format=pb.DATA_FORMAT_PICKLE)
                    self.workspace.add_input(call, pb.FunctionPutInputsItem(input=nothing))
                    fired.append(call.id)
            if not fired:
                raise LookupError(
                    "no deployed function has a schedule" if function is None else f"{function}: no schedule"
                )
            return fired

        return self._call(work())

    def preempt(self, function: str, *, grace: float = GRACE_SECONDS) -> int:
        """Interrupts the containers of a function that are at work, and ends them `grace` seconds later; their inputs
        start again. Returns how many.
        """

        async def work() -> int:
            busy = self._busy(function)
            for container in busy:
                await self.pool.interrupt(container, "preempted", grace)
            return len(busy)

        return self._call(work())

    def kill(self, function: str) -> int:
        """Ends the containers of a function that are at work without any notice, as a failing machine does; their
        inputs start again. Returns how many."""

        async def work() -> int:
            busy = self._busy(function)
            for container in busy:
                await self.pool.kill(container, "killed")
            return len(busy)

        return self._call(work())

    def kill_container(self, function: str, nth: int = 1, *, after: float = 0.0) -> None:
        """Arms a fault: the first container to take its ``nth`` input is killed ``after`` seconds later."""

        async def work() -> None:
            ids = {f.id for f in self.workspace.find_functions(function)}

            def matches(container: Container) -> bool:
                taken = self.workspace.functions[container.function_id]
                return bool(ids & {taken.id, taken.base})

            self.workspace.faults.append(Fault(function, nth, after, matches))

        self._call(work())

    def wait_until_running(self, function: str, timeout: float = 30.0) -> None:
        """Until a container of the function has an input. Raises `TimeoutError`."""
        self._wait_for(lambda: bool(self._busy(function)), timeout, f"{function} did not start")

    def wait_for_call(self, call_id: str, timeout: float = 30.0) -> Outcome:
        """Until a call of one input has ended, whoever made it. Raises `TimeoutError`."""
        call = self.workspace.calls[call_id]
        self._wait_for(lambda: bool(call.inputs) and not call.unfinished, timeout, f"{call_id} did not end")
        result = call.outputs[-1][1].result
        name = pb.GenericResult.GenericStatus.Name(result.status).removeprefix("GENERIC_STATUS_").lower()
        blob = self.workspace.blob_folder / result.data_blob_id
        data = blob.read_bytes() if result.data_blob_id else result.data
        return Outcome(name, pickle.loads(data) if result.status == SUCCESS else None, result.exception)

    def settle(self, timeout: float = 60.0) -> None:
        """Until no call has anything waiting or running. Raises `TimeoutError`."""
        self._wait_for(
            lambda: not any(call.unfinished for call in self.workspace.calls.values()), timeout, "work goes on"
        )

    def report(self) -> dict[str, Any]:
        """Everything the control plane was told and did, as JSON values."""

        async def work() -> dict[str, Any]:
            return report.build(self.workspace)

        return self._call(work())

    def log_of(self, function: str) -> str:
        """What all containers of a function (by its tag) wrote, oldest container first."""
        names = {function, function + ".*"}
        containers = [c for c in self.workspace.containers.values() if c.function in names]
        return "".join(c.log_path.read_text(errors="replace") for c in containers if c.log_path.exists())

    async def control(self, verb: str, query: dict[str, str]) -> Any:
        """The HTTP side of the above: ``report``, ``fire``, ``preempt``, ``kill``, ``stop``."""
        if verb == "report":
            return report.build(self.workspace)
        if verb == "stop":
            assert self._stop is not None, "the server runs"
            self._stop.set()
            return {"stopping": True}
        actions: dict[str, Callable[[], Any]] = {
            "fire": lambda: self.fire(query.get("function")),
            "preempt": lambda: self.preempt(query["function"]),
            "kill": lambda: self.kill_container(query["function"], int(query.get("nth", 1))),
        }
        return {verb: await asyncio.to_thread(actions[verb])}

    def _busy(self, function: str) -> list[Container]:
        found = self.workspace.find_functions(function)
        return [c for f in found for c in self.workspace.containers_of(f) if c.running and not c.preempting]

    def _wait_for(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        async def check() -> bool:
            return condition()

        end = time.monotonic() + timeout
        while not self._call(check()):
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} within {timeout} s; notes: {self.workspace.notes[-3:]}")
            time.sleep(0.02)
