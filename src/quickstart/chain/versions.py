"""Which versions of protocol, architecture and SDK this program knows, and that nothing is signed under others.

An unknown version may have new rules for what costs a bond. It may appear between two runs or in the middle of one,
at a change of epoch. Until a person says so, such a network is only read. (A node's own software version is no such
thing: newer nodes speak the protocol of older clients, §1.)
"""

from collections.abc import Iterable
from importlib.metadata import version

from quickstart.chain.protocol import PARAMETERS
from quickstart.errors import UnknownVersionError

KNOWN = {
    "protocol": frozenset(map(str, PARAMETERS)),
    "architecture": frozenset({"1"}),
    "sdk": frozenset({"0.1.15"}),
}
SETTING = "QUICKSTART_ACCEPT_VERSIONS"


def installed_sdk() -> str:
    """Version of the soma-sdk that is installed, without loading it."""
    return version("soma-sdk")


def unknown_versions(
    protocol: int | None, architecture: int | None, sdk: str, accepted: Iterable[str] = ()
) -> tuple[str, ...]:
    """Names like `protocol-6` of what is neither known nor in `accepted`. None is a version not read yet."""
    found = {"protocol": protocol, "architecture": architecture, "sdk": sdk}
    names = (f"{what}-{now}" for what, now in found.items() if now is not None and str(now) not in KNOWN[what])
    return tuple(name for name in names if name not in frozenset(accepted))


class SigningPermit:
    """Asked before every signature; whoever reads the network tells it what it sees.

    `accepted`: names of versions a person takes responsibility for, as `unknown_versions` gives them.
    """

    def __init__(self, accepted: Iterable[str] = (), sdk: str | None = None) -> None:
        self._accepted = frozenset(accepted)
        self._sdk = sdk or installed_sdk()
        self._seen: tuple[int | None, int | None] = (None, None)

    def observe(self, protocol: int, architecture: int) -> None:
        """Takes note of the network's versions now."""
        self._seen = (protocol, architecture)

    @property
    def withheld(self) -> tuple[str, ...]:
        """The unknown versions because of which nothing may be signed."""
        return unknown_versions(*self._seen, self._sdk, self._accepted)

    def check(self) -> None:
        """Raises UnknownVersionError when nothing may be signed."""
        if self.withheld:
            raise UnknownVersionError(explain(self.withheld))


def explain(withheld: tuple[str, ...]) -> str:
    """One line: what is unknown, that nothing is signed, and how to go on."""
    told = ", ".join(name.replace("-", " ", 1) for name in withheld)
    return (
        f"this program does not know {told}, whose rules may differ: nothing is signed or sent; update the program, "
        f"or set {SETTING}={','.join(withheld)} to go on all the same"
    )
