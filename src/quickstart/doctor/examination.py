"""All checks at once, each with a limit of time; one that breaks is a finding, and the others go on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from quickstart.doctor.bucket import check_bucket
from quickstart.doctor.cloud import check_modal, check_prices
from quickstart.doctor.data_sets import check_data
from quickstart.doctor.findings import Finding, error
from quickstart.doctor.machine import check_clock, check_disk, check_scorer, check_state
from quickstart.doctor.network import check_coins, check_node, check_protocol
from quickstart.doctor.setup import check_alerts, check_key, check_sdk, check_settings
from quickstart.doctor.surroundings import Surroundings
from quickstart.errors import QuickstartError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `seconds`: how long it may take; `mending`: what to look at when it takes longer or fails
    in a way that it has no words for.
    """

    name: str
    run: Callable[[Surroundings], Awaitable[Sequence[Finding]]]
    seconds: float
    mending: str


EDIT = "correct the variables in the env file"
NODE = "wait, or name another full node as QUICKSTART_RPC_URL"

CHECKS = (
    Check("settings", check_settings, 5.0, EDIT),
    Check("key", check_key, 5.0, EDIT),
    Check("alerts", check_alerts, 5.0, EDIT),
    Check("sdk", check_sdk, 5.0, "install this program again with `uv sync`"),
    Check("node", check_node, 20.0, NODE),
    Check("protocol", check_protocol, 25.0, NODE),
    Check("coins", check_coins, 25.0, NODE),
    Check("bucket", check_bucket, 40.0, "check the S3 service's own status page, and S3_ENDPOINT_URL"),
    Check("data", check_data, 30.0, "check https://status.huggingface.co, and HF_ENDPOINT"),
    Check("modal", check_modal, 20.0, "check https://status.modal.com"),
    Check("prices", check_prices, 5.0, "`uv run modal billing rates` shows your own"),
    Check("clock", check_clock, 15.0, "set this machine's clock by the network (NTP)"),
    Check("disk", check_disk, 5.0, "name another folder as QUICKSTART_STATE"),
    Check("state", check_state, 15.0, "name another folder as QUICKSTART_STATE"),
    Check("scorer", check_scorer, 45.0, "`uv sync`, and see that nothing else uses this machine's processors"),
)
"""In the order in which they are told."""


async def examine(surroundings: Surroundings, checks: Sequence[Check] = CHECKS) -> tuple[Finding, ...]:
    """Every finding, in the order of `checks`."""
    found = await asyncio.gather(*(_limited(check, surroundings) for check in checks))
    return tuple(finding for findings in found for finding in findings)


async def _limited(check: Check, surroundings: Surroundings) -> Sequence[Finding]:
    # Not cancelled when it is late: a cancelled call breaks the SDK's client, which other checks share (§7.3).
    task = asyncio.ensure_future(check.run(surroundings))
    done, _ = await asyncio.wait({task}, timeout=check.seconds)
    if not done:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        return (error(check.name, f"no answer within {check.seconds:.0f} s", check.mending),)
    try:
        return task.result()
    except QuickstartError as trouble:
        return (error(check.name, str(trouble), check.mending),)
    except Exception as bug:  # the boundary between checks: what one of them did not foresee hides no other's finding
        log.info("the check %s failed", check.name, exc_info=True)
        told = f"this check failed ({type(bug).__name__}: {' '.join(str(bug).split())[:200]})"
        return (error(check.name, told, check.mending),)
