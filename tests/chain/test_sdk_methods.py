"""Which of the SDK's methods the product may use: reading ones anywhere, one that sends, in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import soma_sdk

SOURCE = Path(__file__).resolve().parents[2] / "src" / "quickstart"
OUTBOX = SOURCE / "submission" / "outbox.py"
DEVNET = SOURCE / "devnet"

SENDING = {"execute_transaction"}
"""Sends bytes that somebody signed. Only the outbox may."""

SIGNING = {
    "add_stake",
    "add_stake_to_model",
    "add_validator",
    "claim_rewards",
    "commit_model",
    "create_model",
    "deactivate_model",
    "merge_coins",
    "pay_coins",
    "remove_validator",
    "report_model",
    "report_submission",
    "report_validator",
    "reveal_model",
    "set_model_commission_rate",
    "set_validator_commission_rate",
    "submit_data",
    "transfer_coin",
    "transfer_objects",
    "undo_report_model",
    "undo_report_submission",
    "undo_report_validator",
    "update_validator_metadata",
    "withdraw_stake",
}
"""Builds, signs and sends, without telling the digest first: never used."""

SERVICES = {"advance_epoch", "request_faucet"}
"""Changes a network of our own (an admin's and a faucet's service), without any key of ours."""

READING = {
    "check_api_version",
    "fetch_model",
    "fetch_submission_data",
    "get_active_models",
    "get_architecture_version",
    "get_balance",
    "get_chain_identifier",
    "get_checkpoint_summary",
    "get_embedding_dim",
    "get_epoch",
    "get_following_epoch_timestamp",
    "get_latest_checkpoint",
    "get_latest_system_state",
    "get_model_manifests",
    "get_model_min_stake",
    "get_next_epoch_timestamp",
    "get_object",
    "get_object_with_version",
    "get_protocol_version",
    "get_server_version",
    "get_targets",
    "get_transaction",
    "list_owned_objects",
    "list_targets",
    "score",
    "scoring_health",
    "simulate_transaction",
    "wait_for_next_epoch",
}

LOCAL = {"commitment", "decrypt_weights", "encrypt_weights", "model_manifest", "to_shannons", "to_soma"}
"""Computes something, without a network."""

CLASSES = (SENDING, SIGNING, SERVICES, READING, LOCAL)


def test_every_method_is_in_one_class() -> None:
    methods = {name for name in dir(soma_sdk.SomaClient) if not name.startswith("_")}
    classified = set().union(*CLASSES)
    assert methods == classified, "a new SDK: say for each new method whether it reads, signs or sends"
    assert sum(map(len, CLASSES)) == len(classified)


def test_whatever_takes_a_signer_is_a_signing_method() -> None:
    takes_a_signer = {
        name
        for name in dir(soma_sdk.SomaClient)
        if "signer" in (getattr(getattr(soma_sdk.SomaClient, name), "__text_signature__", None) or "")
    }
    assert takes_a_signer == SIGNING


def used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names after a dot, and names of methods as text: `client.submit_data`, `self._read("submit_data")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def forbidden_in(path: Path) -> list[str]:
    """Uses of methods that `path` has no business with. The devnet is a server of its own: it never holds a client."""
    allowed = SENDING if path == OUTBOX else set()
    return [
        f"{path.name}:{line}: {name}"
        for name, line in used(ast.parse(path.read_text()))
        if name in (SIGNING | SENDING) - allowed
    ]


def product_files() -> list[Path]:
    return [path for path in sorted(SOURCE.rglob("*.py")) if DEVNET not in path.parents]


def test_the_product_signs_nothing_through_the_sdk_and_sends_in_one_place() -> None:
    assert [use for path in product_files() for use in forbidden_in(path)] == []
    assert [name for name, _ in used(ast.parse(OUTBOX.read_text())) if name in SENDING] == ["execute_transaction"]


def test_the_key_is_used_to_sign_in_one_place() -> None:
    signing = {path.relative_to(SOURCE).as_posix() for path in product_files() if "sign" in called_in(path)}
    assert signing == {"chain/keys.py", "submission/outbox.py"}


def called_in(path: Path) -> set[str]:
    """Names of the methods a file calls."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {function.attr for function in calls if isinstance(function, ast.Attribute)}


def test_the_devnet_holds_no_client() -> None:
    for path in sorted(DEVNET.rglob("*.py")):
        assert "soma_sdk" not in path.read_text(), path


@pytest.mark.parametrize(
    "text", ["await client.submit_data(key)", "await self._read('claim_rewards', 1)", "x = sdk.execute_transaction"]
)
def test_the_search_finds_what_it_is_for(tmp_path: Path, text: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"async def f():\n    {text}\n")
    assert forbidden_in(path)
