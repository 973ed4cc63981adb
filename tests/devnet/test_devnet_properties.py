"""Whatever is sent to the chain: no shannon appears or vanishes, versions only grow, a replay gives the same."""

import hypothesis.strategies as st
from hypothesis import given, settings
from pure_chain import KEY, MANIFEST, SOMA, WIDTH, PureChain, model_embedding

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.transactions import (
    AddStakeToModel,
    ClaimRewards,
    CommitModel,
    CreateModel,
    DeactivateModel,
    Kind,
    ObjectRef,
    PayCoins,
    ReportSubmission,
    RevealModel,
    TransactionData,
    TransferCoin,
)
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.decoding import decode_transaction
from quickstart.devnet.effects import Refusal
from quickstart.devnet.genesis import VALIDATOR, genesis
from quickstart.devnet.inputs import EpochEnd, FaucetRequest, SignedTransaction, apply, decode_input
from quickstart.devnet.state import ChainState

NAMES = ("a", "b", "owner", VALIDATOR)
AMOUNTS = st.sampled_from([0, 1, 999, 1_000, 70_000, SOMA, 3 * SOMA])
CONFIG = DevnetConfig(width=WIDTH, models=0, scaled=False, targets=6)

Step = tuple[str, str, int, int, bool]
step = st.tuples(
    st.sampled_from(
        [
            "transfer",
            "pay",
            "season",
            "fill",
            "claim",
            "report",
            "stake",
            "create",
            "epoch",
            "epoch",
            "fund",
            "stale",
            "deactivate",
        ]
    ),
    st.sampled_from(NAMES),
    st.integers(0, 5),
    AMOUNTS,
    st.booleans(),
)


def make_kind(chain: PureChain, what: str, name: str, number: int, amount: int, whole: bool) -> Kind | None:
    """A transaction that makes more or less sense in the present state."""
    coins = chain.state.coins(chain.address(name))
    targets = sorted(chain.state.targets(), key=lambda item: item[0])
    if not coins:
        return None
    coin = coins[number % len(coins)].ref
    target_id = targets[number % len(targets)][0] if targets else b"\x01" * 32
    models = sorted(chain.state.models)
    recipient = chain.address(NAMES[number % len(NAMES)])
    if what == "transfer":
        return TransferCoin(coin, None if whole else amount, recipient)
    if what == "pay":
        sources = tuple(c.ref for c in coins[: 1 + number])
        return PayCoins(sources, (amount, SOMA), (recipient, chain.address(name)))
    open_now = [i for i, _ in chain.open_targets()]
    if what == "fill":
        if open_now:
            target_id = open_now[number % len(open_now)]
        return chain.submission(target_id, coin, size=0 if whole else 1024)
    if what == "claim":
        filled = [i for i, target in targets if target.submitter]
        if filled:
            # The oldest first: the one most likely to pay.
            target_id = min(filled, key=lambda i: chain.state.objects[i].version)
        return ClaimRewards(target_id)
    if what == "report":
        filled = [i for i, target in targets if target.submitter and target.fill_epoch + 1 == chain.state.epoch]
        return ReportSubmission(filled[0] if filled else target_id)
    if what == "stake":
        return AddStakeToModel(models[number % len(models)], coin, None if whole else amount)
    if what == "create":
        return CreateModel(SOMA + amount, 0, 1)
    if what == "deactivate":
        return DeactivateModel(models[number % len(models)])
    return TransferCoin(ObjectRef(coin.object_id, coin.version + 7, coin.digest), 1, recipient)


def expanded(given_step: Step) -> list[Step]:
    """A season is a fill, sometimes a report of it, and its claim once that pays; chance alone rarely gets there."""
    what, name, number, amount, fraud = given_step
    if what != "season":
        return [given_step]
    report = [("report", VALIDATOR, number, amount, True)] if fraud else []
    ends: list[Step] = [("epoch", name, number, amount, False)]
    fill, claim = ("fill", name, number, amount, False), ("claim", NAMES[number % 3], number, amount, True)
    return [fill, *ends, *report, *ends, claim]


def inputs_of(chain: PureChain, steps: list[Step]) -> list[bytes]:
    """Applies the steps; gives the encoded inputs that were accepted."""
    accepted: list[bytes] = []
    for what, name, number, amount, whole in (one for given_step in steps for one in expanded(given_step)):
        state = chain.state
        if what == "epoch":
            one: EpochEnd | FaucetRequest | SignedTransaction = EpochEnd(86_400_000 * (state.epoch + 1) if whole else 0)
        elif what == "fund":
            one = FaucetRequest(0, chain.address(name), amount, 1 + number)
        else:
            kind = make_kind(chain, what, name, number, amount, whole)
            if kind is None:
                continue
            gas = tuple(c.ref for c in state.coins(chain.address(name))[-1 - number % 3 :])
            transaction = TransactionData(kind, chain.address(name), gas)
            assert decode_transaction(transaction.encode()).encode() == transaction.encode()
            one = SignedTransaction(0, transaction, bytes(64), bytes(32))
        before = {object_id: stored.version for object_id, stored in state.objects.items()}
        fingerprint = state.fingerprint() if what == "stale" else b""
        try:
            applied = apply(state, decode_input(one.encode()))
        except Refusal:
            assert what != "stale" or state.fingerprint() == fingerprint
            continue
        accepted.append(one.encode())
        for object_id, version in before.items():
            stored = state.objects.get(object_id)
            assert stored is None or stored.version >= version
            if applied.effects is not None and object_id in applied.object_ids:
                assert stored is None or stored.version == applied.effects.version > version
        assert state.supply() == state.minted - state.slashed
        assert all(c.contents.balance >= 0 for c in state.objects.values() if hasattr(c.contents, "balance"))
    return accepted


def started() -> tuple[PureChain, list[bytes]]:
    """A chain with one active model and money for everybody, and the inputs that led there."""
    chain = PureChain(CONFIG)
    record: list[bytes] = []
    funds = [("fund", name, 3, 3 * SOMA, False) for name in NAMES]
    record += inputs_of(chain, [*funds, ("create", "owner", 1, 0, False)])
    model = next(iter(chain.state.models.values()))
    for kind in (_commit(model.model_id), None, _reveal(model.model_id), None):
        if kind is None:
            record += inputs_of(chain, [("epoch", "a", 0, 0, False)])
            continue
        transaction = TransactionData(kind, chain.address("owner"), (chain.coin("owner"),))
        one = SignedTransaction(0, transaction, bytes(64), bytes(32))
        applied = apply(chain.state, one)
        assert applied.effects is not None
        assert applied.effects.failure is None
        record.append(one.encode())
    return chain, record


def _commit(model_id: Id32) -> Kind:
    commitment = blake2b_256(bcs.tensor(model_embedding(0)))
    return CommitModel(model_id, MANIFEST, MANIFEST.checksum, commitment, blake2b_256(KEY))


def _reveal(model_id: Id32) -> Kind:
    return RevealModel(model_id, KEY, model_embedding(0))


def replayed(record: list[bytes]) -> ChainState:
    state = genesis(CONFIG, b"\x07" * 32, 0)
    for encoded in record:
        apply(state, decode_input(encoded))
    return state


@settings(max_examples=120, deadline=None)
@given(st.lists(step, max_size=25))
def test_money_is_conserved_versions_grow_and_a_replay_is_identical(
    steps: list[Step],
) -> None:
    chain, record = started()
    record += inputs_of(chain, steps)
    assert replayed(record).fingerprint() == chain.state.fingerprint()
