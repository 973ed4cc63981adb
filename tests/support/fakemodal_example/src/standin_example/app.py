"""One function per property of the platform that the stand-in claims to have."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import modal

app = modal.App("standin-example")
image = modal.Image.debian_slim(python_version="3.11").add_local_python_source("standin_example")
shelf = modal.Volume.from_name("shelf", create_if_missing=True, version=2)
state = modal.Dict.from_name("state", create_if_missing=True)
keys_secret = modal.Secret.from_name("keys", required_keys=["API_KEY"])
SHELF = Path("/standin-shelf")


@app.function(image=image, volumes={str(SHELF): shelf}, max_containers=1, single_use_containers=True)
def writer(name: str, text: str, commit: bool) -> None:
    """Writes a file, commits or not, and stays until it is let go."""
    (SHELF / name).write_text(text)
    if commit:
        shelf.commit()
    state[f"written/{name}"] = True
    while not state.get(f"go/{name}", False):
        time.sleep(0.05)


@app.function(image=image, volumes={str(SHELF): shelf.with_mount_options(read_only=True)}, max_containers=1)
def reader(reload: bool, keep_open: str = "") -> dict[str, str]:
    """The files it sees, after a reload or not; the reload's error where a file is held open over it."""
    if keep_open:
        with (SHELF / keep_open).open():
            try:
                shelf.reload()
            except RuntimeError as exc:
                return {"error": str(exc)}
    elif reload:
        shelf.reload()
    return {path.name: path.read_text() for path in SHELF.iterdir()}


@app.function(image=image, secrets=[keys_secret], single_use_containers=True)
def keys() -> dict[str, str]:
    found = {name: os.environ[name] for name in ("API_KEY", "OTHER") if name in os.environ}
    sys.stdout.write(f"the keys are {found}\n")
    return found


@app.cls(image=image, gpu="L4", max_containers=1, timeout=60, restrict_modal_access=True)
class Scorer:
    @modal.enter()
    def load(self) -> None:
        self.taken = 0

    @modal.method()
    def score(self, shard: int) -> tuple[int, int]:
        """The shard, and how many this container has taken: 1 again in a new one."""
        self.taken += 1
        time.sleep(0.2)
        return shard, self.taken

    @modal.method()
    def reach(self) -> str:
        """The name of the error that a restricted function gets from other resources."""
        try:
            state.put("reached", True)
        except modal.exception.Error as exc:
            return type(exc).__name__
        return "none"


@app.function(image=image, schedule=modal.Cron("0 3 * * *"), max_containers=1, timeout=3600)
async def daily() -> list[str | None]:
    """The call ids of all attempts at this run; each attempt leaves a trace and ends when it is let go."""
    attempts = [*(await state.get.aio("attempts", [])), modal.current_function_call_id()]
    await state.put.aio("attempts", attempts)
    while not await state.get.aio("go/daily", False):  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.05)
    return attempts


@app.function(image=image)
@modal.asgi_app()
def page() -> Callable[..., Awaitable[None]]:
    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": f"page {scope['path']} of {__file__}".encode()})

    return answer
