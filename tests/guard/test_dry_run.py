"""Promise 11: a dry run shows what would be sent, asks the network only to read, and has nothing to sign with."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import soma_sdk
from live_devnet import BOND, running
from sessions import session

from quickstart.chain.keys import Wallet
from quickstart.cli import arguments, model_arguments
from quickstart.submission.actions import Policy
from tests.chain.test_sdk_methods import LOCAL, READING

SOMA = 1_000_000_000


class SigningForbidden(Wallet):
    """Every way to get at a signature ends the test."""

    def sign(self, transaction_bytes: bytes) -> bytes:
        raise AssertionError("a dry run signed")

    def keypair(self) -> Any:
        raise AssertionError("a dry run took the key out")


class StorageForbidden:
    """So does every way to publish, or to take back."""

    def put(self, data: bytes, checksum: bytes, *, again: bool = False) -> str:
        raise AssertionError("a dry run published")

    def remove(self, checksums: object) -> None:
        raise AssertionError("a dry run removed something")

    def public_url(self, checksum: bytes) -> str:
        return "http://127.0.0.1:9/" + checksum.hex()


@dataclass
class Recorded:
    """The real client; the name of every method that is called is kept."""

    client: Any
    called: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.client, name)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of the SDK's methods that clients made from now on are asked for."""
    names: set[str] = set()
    real = soma_sdk.SomaClient

    async def connect(*places: Any, **options: Any) -> Recorded:
        return Recorded(await real(*places, **options), names)

    monkeypatch.setattr(soma_sdk, "SomaClient", connect)
    yield names


def test_a_dry_run_of_submit_and_claim(tmp_path: Path, called: set[str]) -> None:
    with running(models=1, targets=40) as live:
        wallet = Wallet(b"\x31" * 32)
        live.fund(wallet.address, SOMA)
        live.run(live.run(session(live, wallet, tmp_path)).run())
        for _ in range(2):
            live.next_epoch()
        assert "execute_transaction" in called - READING - LOCAL  # so the recorder does see what sends
        called.clear()
        before = live.executed()
        forbidden = SigningForbidden(wallet.secret)
        options: dict[str, Any] = {"storage": StorageForbidden(), "dry_run": True}
        policy = Policy(max_hits_per_epoch=5, bond_cap=(6 + 3) * BOND)
        told = live.run(live.run(session(live, forbidden, tmp_path, policy=policy, **options)).rehearse())
        assert live.executed() == before
        assert called <= READING | LOCAL and "list_targets" in called
        assert told["would_submit"] == len(told["submissions"]) == 3  # six bonds are out, nine are allowed
        assert len(told["claims"]) >= 6
        first = told["submissions"][0]
        assert (first["bond_shannons"], first["fee_shannons"]) == (BOND, 2_200)
        assert first["expected_reward_shannons"] == 6_310_881 and first["distance"] < 1.3
        own = [claim for claim in told["claims"] if claim["ours"]]
        assert len(own) == 6 and all(claim["bond_returned_shannons"] == BOND for claim in own)
        assert told["totals"]["bond_shannons"] == 3 * BOND
        fees = sum(row["fee_shannons"] for row in (*told["submissions"], *told["claims"]))
        assert told["totals"]["fee_shannons"] == fees
        claim_only = Policy(max_hits_per_epoch=0, scoring=False)
        told = live.run(live.run(session(live, forbidden, tmp_path, epochs=0, policy=claim_only, **options)).rehearse())
        assert (told["submissions"], len([c for c in told["claims"] if c["ours"]])) == ([], 6)
        live.node.state.rules = replace(live.node.state.rules, protocol_version=9)
        told = live.run(live.run(session(live, forbidden, tmp_path, policy=policy, **options)).rehearse())
        assert "protocol 9" in told["withheld"][0]


def test_every_command_that_could_send_has_a_dry_run() -> None:
    reading = ("status", "devnet", "plan", "fetch", "completion", "doctor", "logs", "niches")
    everywhere = vars(arguments) | vars(model_arguments)
    parsers = {name: make for name, make in everywhere.items() if name.endswith("_parser")}
    for name in parsers.keys() - {f"{name}_parser" for name in reading}:
        assert "--dry-run" in parsers[name]().format_help(), name
    assert {"submit_parser", "claim_parser", "deploy_parser", "stop_parser", "reveal_parser"} <= parsers.keys()
