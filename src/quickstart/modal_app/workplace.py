"""Everything of Modal that the submitter's body uses, as plain values: what it does can be read without Modal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from quickstart.executors.modal import Remote
from quickstart.modal_app.account import Call
from quickstart.modal_app.messages import Message
from quickstart.modal_app.store import Store

TESTNET_RPC = "https://fullnode.testnet.soma.org"


@dataclass(frozen=True, slots=True)
class Shared:
    """A volume: its folder here. `reload` takes over what others committed, with no file open; `commit` shows ours."""

    folder: Path
    reload: Callable[[], None]
    commit: Callable[[], None]


def trusting_private_hosts(remote: Remote) -> Remote:
    """The same functions, for a network of our own: its models may lie on this machine."""
    return replace(remote, fetch_weights=lambda message: remote.fetch_weights(message | {"private_hosts": True}))


@dataclass(frozen=True, slots=True)
class Workplace:
    """`call_id`: the function call we are, the same after a preemption. `is_at_work`: whether a call waits or runs.

    `gpu_dollars_billed`: Modal's own count for a day ("2026-11-23", UTC); a `QuickstartError` where it gives none.

    `gpus`, `containers`: types and number of GPUs as they were deployed: what there is to pay for, whatever the secrets
    say by now.

    `scorer_cores`, `scorer_memory_gib`: of one scorer container; `overhead_seconds`: its start, and its idling at the
    end.
    """

    call_id: str
    store: Store
    remote: Remote
    cut_windows: Callable[[Message], Call]
    is_at_work: Callable[[str], bool]
    gpu_dollars_billed: Callable[[str], float]
    bank: Shared
    ledgers: Shared
    gpus: tuple[str, ...]
    containers: int
    scorer_cores: float
    scorer_memory_gib: float
    overhead_seconds: float
