"""The node, the rules it runs, and what the wallet has there."""

from collections.abc import Sequence

from quickstart.chain.ids import format_id
from quickstart.chain.treasury import MERGE_FROM, SUBMISSIONS_PER_COIN
from quickstart.chain.versions import explain, installed_sdk, unknown_versions
from quickstart.data.window import WINDOW_BYTES
from quickstart.doctor.findings import Finding, error, not_checked, ok, warning
from quickstart.doctor.surroundings import Surroundings
from quickstart.errors import NetworkError, UnreachableError
from quickstart.units import format_soma

SDK_API_VERSION = "0.1.19"
"""Of the node that soma-sdk 0.1.15 was built with; its own check demands exactly this (`soma-protocol` §1)."""


async def check_node(at: Surroundings) -> Sequence[Finding]:
    """Whether a node answers, and what it is. Another version is a warning, never a stop (§1)."""
    url = at.node.rpc_url
    try:
        info = await at.node.info()
    except (UnreachableError, NetworkError) as trouble:
        return [error("node", str(trouble), "correct QUICKSTART_RPC_URL, or wait until the node is back")]
    version = info.server.rpartition("/")[2]
    found = [ok("node", f"{url} answers: {info.server}, chain {info.chain or info.chain_id}")]
    if version != SDK_API_VERSION:
        told = f"{url} runs {version or 'an unknown version'}, the SDK was built for {SDK_API_VERSION}"
        found.append(warning("node", told, "nothing while calls succeed; else update this program"))
    return found


async def check_protocol(at: Surroundings) -> Sequence[Finding]:
    """Whether the network's rules are known: under others nothing is signed."""
    try:
        epoch, _ = await at.node.state(at.wallet)
    except (UnreachableError, NetworkError):
        return [not_checked("protocol", "the node does not answer", "mend `node` first")]
    accepted = at.settings.accepted_versions if at.settings else ()
    versions = (epoch.protocol_version, epoch.parameters.model_architecture_version, installed_sdk())
    unknown = tuple(name for name in unknown_versions(*versions) if not name.startswith("sdk-"))
    withheld = tuple(name for name in unknown if name not in accepted)
    if withheld:
        return [error("protocol", explain(withheld), "update this program; until then it reads, and signs nothing")]
    if unknown:
        told = f"{', '.join(unknown)} is newer than this program knows, and signed under all the same"
        return [warning("protocol", told, "update this program, and clear QUICKSTART_ACCEPT_VERSIONS")]
    return [ok("protocol", f"version {epoch.protocol_version}, epoch {epoch.number}")]


async def check_coins(at: Surroundings) -> Sequence[Finding]:
    """Whether the wallet pays for the bonds and fees of its lanes, and whether the caps let it."""
    if at.wallet is None or at.settings is None:
        return [not_checked("coins", "there is no key", "mend `key` first")]
    try:
        epoch, coins = await at.node.state(at.wallet)
    except (UnreachableError, NetworkError):
        return [not_checked("coins", "the node does not answer", "mend `node` first")]
    parameters, lanes = epoch.parameters, at.settings.lanes
    balance, cost = sum(coin.balance for coin in coins), parameters.submission_cost(WINDOW_BYTES)
    wanted = lanes * SUBMISSIONS_PER_COIN * cost
    send = f"send SOMA to {format_id(at.wallet.address)}"
    found: list[Finding] = []
    if balance < cost:
        told = f"the wallet holds {format_soma(balance)}, one submission needs {format_soma(cost)} for bond and fees"
        found.append(error("coins", told, send))
    elif balance < wanted:
        told = f"the wallet holds {format_soma(balance)}; {lanes} lanes are kept busy with {format_soma(wanted)}"
        found.append(warning("coins", told, f"{send}, or set QUICKSTART_LANES lower"))
    if len(coins) >= MERGE_FROM:
        told = f"the wallet has {len(coins)} coins; listings show 256 at most"
        found.append(warning("coins", told, "`uv run claim` merges them"))
    if at.settings.bond_cap_shannons < parameters.bond(WINDOW_BYTES):
        told = f"QUICKSTART_BOND_CAP locks less than the {format_soma(parameters.bond(WINDOW_BYTES))} of one bond"
        found.append(error("caps", told, "set QUICKSTART_BOND_CAP higher: nothing is submitted now"))
    if at.settings.gas_cap_shannons < parameters.submission_fee:
        told = f"QUICKSTART_GAS_CAP is less than the {format_soma(parameters.submission_fee)} of one submission"
        found.append(error("caps", told, "set QUICKSTART_GAS_CAP higher: nothing is submitted now"))
    return found or [
        ok("coins", f"{format_soma(balance)} in {len(coins)} coins; one submission needs {format_soma(cost)}")
    ]
