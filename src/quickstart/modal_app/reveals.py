"""Reveals on a schedule of their own: they need neither the submitter nor the training to be alive.

Half of a first stake hangs on each, so they go on also while everything else is stopped. Whoever holds the wallet's
lease reveals by itself; then this only sees to it that somebody is told in time.
"""

import asyncio
import logging
import time
from typing import Any

from quickstart.chain.client import NetworkReader, connect
from quickstart.errors import LeaseHeldError
from quickstart.modal_app.cycle import WALLET_NAMES
from quickstart.modal_app.own_office import Owner, own_office
from quickstart.modal_app.workplace import Shared
from quickstart.settings import load_settings
from quickstart.submission.storage import public_client
from quickstart.trainer.copies import manifests_of, trouble_with
from quickstart.trainer.office import reveal_due
from quickstart.trainer.reveals import ALARM_SECONDS, Phase, commitments, pending_reveals, status
from quickstart.units import HOURS, MINUTES

log = logging.getLogger(__name__)

TRYING_SECONDS = 5 * MINUTES
"""How long one call tries; the next one goes on. That of 02:52 does not hold the lease when the submitter begins."""


def reveal(ledgers: Shared) -> dict[str, Any]:
    """One look, and the reveals that are due; reads the public copies of our models' weights where none is.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    return asyncio.run(_reveal(Owner.of(load_settings(*WALLET_NAMES, env_file=None)), ledgers))


async def _reveal(owner: Owner, ledgers: Shared) -> dict[str, Any]:
    reader = NetworkReader(await connect(owner.endpoints), owner.endpoints.rpc)
    epoch, models = await reader.own_models(owner.wallet.address)
    by_id = {model.model_id: model for model in models}
    statuses = tuple(status(one, by_id, epoch.number) for one in pending_reveals(models))
    if not any(one.phase is Phase.REVEAL_DUE for one in statuses):
        with public_client() as client:
            troubles = [await asyncio.to_thread(trouble_with, one, client) for one in manifests_of(models)]
        unreadable = [trouble for trouble in troubles if trouble is not None]
        for trouble in unreadable:
            log.error("others cannot read the weights of a model of ours: %s", trouble)
        return {"commitments": commitments(statuses), "unreadable": unreadable}
    try:
        async with own_office(owner, ledgers, "reveal on Modal") as office:
            statuses = await reveal_due(office, wait=False, seconds=TRYING_SECONDS)
            return {"commitments": commitments(statuses)}
    except LeaseHeldError as held:
        left = epoch.end_ms / 1000 - time.time()
        told = log.error if left <= ALARM_SECONDS else log.info
        told("a reveal is due within %.1f hours; whoever signs must make it: %s", left / HOURS, held)
        return {"commitments": commitments(statuses), "held": str(held)}
