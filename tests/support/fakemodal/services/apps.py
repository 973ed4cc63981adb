"""Apps: created, published (again), followed, stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from modal_proto import api_pb2 as pb

from ..definitions import layout
from ..records import App
from ..workspace import not_found
from .base import Service

LOG_POLL_SECONDS = 10.0
PAGE = "https://modal.invalid/apps"


class Apps(Service):
    def _new(self, name: str, state: int, tags: dict[str, str] | None = None) -> App:
        app = App(self.workspace.new_id("ap"), name, state, tags=dict(tags or {}))
        self.workspace.apps[app.id] = app
        return app

    def _get(self, app_id: str) -> App:
        app = self.workspace.apps.get(app_id)
        if app is None:
            raise not_found(f"App {app_id} not found")
        return app

    async def AppCreate(self, request: Any, stream: Any) -> pb.AppCreateResponse:
        app = self._new(request.description, request.app_state, request.tags)
        page = f"{PAGE}/{app.id}"
        return pb.AppCreateResponse(app_id=app.id, app_page_url=page, app_logs_url=page + "/logs")

    async def AppGetOrCreate(self, request: Any, stream: Any) -> pb.AppGetOrCreateResponse:
        app_id = self.workspace.deployed.get(request.app_name)
        if app_id is None:
            if request.object_creation_type != pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise not_found(f"App '{request.app_name}' not found in environment 'main'")
            app_id = self._new(request.app_name, pb.APP_STATE_DEPLOYED).id
            self.workspace.deployed[request.app_name] = app_id
        app = self._get(app_id)
        metadata = pb.AppHandleMetadata(description=app.name, lifecycle=self._lifecycle(app))
        return pb.AppGetOrCreateResponse(app_id=app_id, handle_metadata=metadata)

    def _lifecycle(self, app: App) -> pb.AppLifecycle:
        return pb.AppLifecycle(
            app_state=app.state,  # type: ignore[arg-type]
            created_at=app.created,
            version=app.deployments,
            stopped_at=app.stopped,
        )

    async def AppGetByDeploymentName(self, request: Any, stream: Any) -> pb.AppGetByDeploymentNameResponse:
        app_id = self.workspace.deployed.get(request.name, "")
        reply = pb.AppGetByDeploymentNameResponse(app_id=app_id, environment_name="main")
        if app_id:
            reply.lifecycle.CopyFrom(self._lifecycle(self._get(app_id)))
        return reply

    async def AppGetLifecycle(self, request: Any, stream: Any) -> pb.AppGetLifecycleResponse:
        return pb.AppGetLifecycleResponse(lifecycle=self._lifecycle(self._get(request.app_id)))

    async def AppList(self, request: Any, stream: Any) -> pb.AppListResponse:
        reply = pb.AppListResponse()
        for app in self.workspace.apps.values():
            running = sum(c.alive for c in self.workspace.containers.values() if c.app_id == app.id)
            reply.apps.add(
                app_id=app.id,
                description=app.name,
                name=app.name if app.id in self.workspace.deployed.values() else "",
                state=app.state,
                created_at=app.created,
                stopped_at=app.stopped,
                n_running_tasks=running,
            )
        return reply

    async def AppGetLayout(self, request: Any, stream: Any) -> pb.AppGetLayoutResponse:
        return pb.AppGetLayoutResponse(app_layout=layout(self.workspace, self._get(request.app_id)))

    async def AppPublish(self, request: Any, stream: Any) -> pb.AppPublishResponse:
        """A deployment, or the start of a run. Containers of the deployment before take no further input."""
        app = self._get(request.app_id)
        app.function_ids, app.class_ids = dict(request.function_ids), dict(request.class_ids)
        app.state = request.app_state or app.state
        app.tags = dict(request.tags)
        if request.app_state == pb.APP_STATE_DEPLOYED:
            self.workspace.deployed[request.name] = app.id
            app.name = request.name
            app.deployments += 1
            self.pool.drain(app.id)
        return pb.AppPublishResponse(url=f"{PAGE}/{app.id}", deployed_at=time.time())

    async def AppClientDisconnect(self, request: Any, stream: Any) -> None:
        """A run ends with its client, unless it was detached."""
        app = self._get(request.app_id)
        if app.state in (pb.APP_STATE_EPHEMERAL, pb.APP_STATE_INITIALIZING):
            await self._stop(app)

    async def AppStop(self, request: Any, stream: Any) -> None:
        await self._stop(self._get(request.app_id))

    async def _stop(self, app: App) -> None:
        app.state, app.stopped = pb.APP_STATE_STOPPED, time.time()
        self.workspace.deployed = {n: i for n, i in self.workspace.deployed.items() if i != app.id}
        await self.pool.stop_app(app.id)

    async def TaskList(self, request: Any, stream: Any) -> pb.TaskListResponse:
        reply = pb.TaskListResponse()
        for c in self.workspace.containers.values():
            if c.alive and request.app_id in ("", c.app_id):
                name = self.workspace.apps[c.app_id].name
                reply.tasks.add(
                    task_id=c.task_id,
                    app_id=c.app_id,
                    app_description=name,
                    started_at=c.started,
                    enqueued_at=c.started,
                )
        return reply

    async def AppGetLogs(self, request: Any, stream: Any) -> AsyncIterator[pb.TaskLogsBatch]:
        app = self._get(request.app_id)
        position = int(request.last_entry_id.split("-")[0]) if request.last_entry_id else 0
        end = time.monotonic() + min(request.timeout or LOG_POLL_SECONDS, LOG_POLL_SECONDS)
        while True:
            for task_id, text in app.log[position:]:
                position += 1
                line = pb.TaskLogs(data=text, timestamp=time.time(), file_descriptor=pb.FILE_DESCRIPTOR_STDOUT)
                yield pb.TaskLogsBatch(task_id=task_id, entry_id=f"{position}-0", items=[line])
            if app.done and position == len(app.log):
                yield pb.TaskLogsBatch(app_done=True, entry_id=f"{position}-0")
                return
            if time.monotonic() > end:
                return
            await asyncio.sleep(0.05)
