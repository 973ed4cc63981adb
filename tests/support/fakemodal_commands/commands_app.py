"""What the commands find on Modal, with the names of the real apps and bodies that a test can steer.

Keys of the Dict: "go" lets a cycle end with its value; "told" is what it tells meanwhile; "deaf": it does not end by
itself; "cycles" the calls that began; "slow" makes claim and upkeep wait, "poor" makes it fail.
"""

import asyncio
import time
from typing import Any

import modal

from quickstart.errors import FundsError
from quickstart.modal_app.names import (
    APP,
    CLAIM,
    CLEANUP,
    DICT,
    DISARMED,
    GPU_CALLS,
    PROGRESS,
    RUNNING,
    SUBMITTER,
    UPKEEP,
)

app = modal.App(APP)
image = modal.Image.debian_slim(python_version="3.11").add_local_python_source("commands_app", "quickstart")
state = modal.Dict.from_name(DICT, create_if_missing=True)


@app.cls(image=image, gpu="L4", max_containers=2)
class Scorer:
    @modal.method()
    def score(self, shard: int) -> int:
        """Works until it is ended."""
        state.put(f"scoring/{shard}", True)
        while True:
            time.sleep(0.05)


@app.function(image=image, name=SUBMITTER, schedule=modal.Cron("0 3 * * *"), max_containers=1, timeout=120)
async def cycle() -> dict[str, Any]:
    """Starts scoring, tells how far it is, and ends when it is let go."""
    me = modal.current_function_call_id()
    await state.put.aio(RUNNING, me)
    await state.put.aio("cycles", [*(await state.get.aio("cycles", [])), me])
    for shard in range(await state.get.aio("shards", 0)):
        call = await Scorer().score.spawn.aio(shard)
        await state.put.aio(f"{GPU_CALLS}/{shard}", call.object_id)
    stopped = await state.get.aio(DISARMED, None)
    while not (end := await state.get.aio("go", None)):
        if (await state.get.aio(DISARMED, None)) != stopped and not await state.get.aio("deaf", False):
            end = {"skipped": "stopped in order"}
            break
        if told := await state.get.aio("told", None):
            await state.put.aio(PROGRESS, (me, told))
        await asyncio.sleep(0.05)
    return dict(end)


@app.function(image=image, name=CLAIM, max_containers=1, timeout=120)
def claim() -> dict[str, Any]:
    """Asks whoever signs; fails when told to, and takes its time."""
    if state.get("slow", False):
        state.put(RUNNING, modal.current_function_call_id())
    while state.get("slow", False):
        time.sleep(0.05)
    if state.get("poor", False):
        raise FundsError("no coins: send SOMA to that address")
    return {"asked": "`submit` on Modal", "claims_landed": 3}


@app.function(image=image, name=UPKEEP, max_containers=1, timeout=120)
def upkeep(what: str, dry_run: bool = False) -> dict[str, Any]:
    """Says what it was asked to do, and takes its time."""
    if state.get("slow", False):
        state.put(RUNNING, modal.current_function_call_id())
    while state.get("slow", False):
        time.sleep(0.05)
    about = {"network": "testnet", "chain_id": what, "address": "0x00", "epoch": 3, "dry_run": dry_run}
    if what == CLEANUP:
        return {**about, "removed": ["a window"], "bytes": 1024, "kept": 2}
    books = {"difference_shannons": 0}
    return {
        **about,
        "ledger": "brought up to the chain",
        "fills_restored": 4,
        "copies": 5,
        "books": books,
        "alarms": [],
    }
