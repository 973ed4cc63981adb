"""The one clock that durations are measured on."""

import asyncio


def now() -> float:
    """Seconds of the running event loop, on which its waits are counted too: a simulation turns both together."""
    return asyncio.get_running_loop().time()
