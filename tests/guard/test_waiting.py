"""A run that has reached its hits waits for the next epoch, for hours on a real network: it still does what it must."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

from live_devnet import LiveDevnet, running
from sessions import session

from quickstart.chain.keys import Wallet
from quickstart.ledger.ledger import Ledger
from quickstart.submission.actions import Policy
from quickstart.submission.requests import CLAIM
from quickstart.submission.session import Session

LONGEST = 90.0
"""Seconds; it takes ten on a machine that does nothing else."""


async def _life(live: LiveDevnet, run: Session) -> dict[str, Any]:
    work = asyncio.create_task(run.run())
    box = run.places.requests
    async with asyncio.timeout(LONGEST):
        while not run.places.ledger.exists():  # noqa: ASYNC110 - a fact about the run's files
            await asyncio.sleep(0.05)
        with closing(Ledger(run.places.ledger)) as ledger:
            while not ledger.epoch_reports():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        for name, content in {"odd": '{"at": "soon"}', "what": '{"at": 1, "what": []}'}.items():
            (run.places.root / "requests" / f"{name}.request").parent.mkdir(exist_ok=True)
            (run.places.root / "requests" / f"{name}.request").write_text(content)
        asked = box.post(CLAIM)
        while (answer := box.take_answer(asked)) is None:
            assert not work.done(), work.result()
            await asyncio.sleep(0.05)
        await live.node.advance_epoch()
        return {"answer": answer, **await work}


def test_claims_that_are_asked_for_meanwhile_are_made(tmp_path: Path) -> None:
    with running(models=1, targets=40) as live:
        wallet = Wallet(b"\x51" * 32)
        live.fund(wallet.address, 10**9)
        run = live.run(session(live, wallet, tmp_path, epochs=2, policy=Policy(max_hits_per_epoch=2)))
        told = live.runner.run(_life(live, run))
    assert told["answer"] == {"claims_landed": 0}
    assert [epoch["filled"] for epoch in told["epochs"]] == [2, 2]
    assert told["books"]["difference_shannons"] == 0
