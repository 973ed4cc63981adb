"""A wallet's life as a Hypothesis state machine: whatever happens in whatever order, nothing conflicting is signed.

The product itself runs between the rules (loop, driver, dispatch, outbox, ledger, publisher), on the chain of the
devnet and a clock that jumps.
"""

import contextlib
from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quickstart.chain.ids import blake2b_256
from quickstart.chain.transactions import PayCoins, TransactionData, TransferCoin
from quickstart.errors import LeaseHeldError
from quickstart.submission.actions import Policy
from quickstart.submission.session import claims_only
from tests.campaign.simulation import SOMA, Simulation, conflicts, submissions

STRANGER = blake2b_256(b"a stranger")
BOND = 66_560
SUBMISSION_FEES = 2_200

LANES = 3

COMPARED_EVERY = 15
"""Steps after which a whole recovery may be compared once more; the end of a life always is."""

A_LITTLE = 0.15
"""Seconds that pass with every step, whatever else it does."""


class WalletLife(RuleBasedStateMachine):
    """See the module. `totals` counts over all lives of a process."""

    totals: ClassVar[Counter[str]] = Counter()

    @initialize(
        coins=st.sampled_from([(SOMA,), (300_000,), (SOMA, 70_000, 70_000), (40_000,) * 6]),
        max_hits=st.sampled_from([None, None, 4, 15]),
        bond_cap=st.sampled_from([None, None, 5 * BOND]),
        gas_cap=st.sampled_from([None, None, 30_000]),
    )
    def born(self, coins: tuple[int, ...], max_hits: int | None, bond_cap: int | None, gas_cap: int | None) -> None:
        self.policy = Policy(
            lanes=LANES, max_hits_per_epoch=max_hits, bond_cap=bond_cap, gas_cap=gas_cap, publishers=2, patient=True
        )
        self.steps = 0
        self.world = Simulation(self.policy, coins=coins)
        self.world.start()

    # -- time, and the end of a run

    @rule(seconds=st.sampled_from((0.05, 0.1, 0.2, 0.5)))
    def a_moment_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from((0.2, 0.7, 2.0)))
    def a_while_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.world.run is not None)
    @rule(after=st.integers(1, 20))
    def lose_power_at_a_point(self, after: int) -> None:
        self.world.cut_at = after
        self.world.pass_time(0.5)

    @precondition(lambda self: self.world.run is not None)
    @rule()
    def crash(self) -> None:
        self.world.crash()

    @precondition(lambda self: self.world.run is None)
    @rule(pause=st.sampled_from((0.0, 0.0, 1.0)))
    def start_again(self, pause: float) -> None:
        self.world.pass_time(pause)
        self.world.start()
        self.world.pass_time(0.8)

    @precondition(lambda self: self.world.run is not None)
    @rule()
    def second_signer(self) -> None:
        """Another process of the same wallet: it is told at once who signs, and has sent nothing."""
        assert self.world.run is not None
        sent = len(self.world.node.arrivals)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.world.edges.lease())
            except LeaseHeldError as refused:
                assert "stop it (Ctrl-C there) and run this again to take over" in str(refused)
            else:
                raise AssertionError("two hold the lease")
        assert len(self.world.node.arrivals) == sent
        self.world.counts["second signers refused"] += 1

    # -- the network

    @rule(replies=st.integers(1, 4))
    def replies_get_lost(self, replies: int) -> None:
        self.world.node.lose_replies = replies
        self.world.pass_time(0.3)

    @rule(seconds=st.sampled_from((0.5, 3.0, 40.0)), lasts=st.booleans())
    def node_freezes(self, seconds: float, lasts: bool) -> None:
        self.world.node.frozen_until = self.world.loop.time() + seconds
        self.world.pass_time(0.2 if lasts else seconds)

    @rule(seconds=st.sampled_from((1.0, 20.0, 90.0)), lasts=st.booleans())
    def node_is_out_of_reach(self, seconds: float, lasts: bool) -> None:
        self.world.node.dead_until = self.world.loop.time() + seconds
        self.world.pass_time(0.2 if lasts else seconds)

    @rule()
    def outlast_it(self) -> None:
        node, now = self.world.node, self.world.loop.time()
        self.world.pass_time(max(0.1, node.frozen_until - now, node.dead_until - now))

    @rule()
    def epoch_ends(self) -> None:
        self.world.node.end_epoch()
        self.world.counts["epochs"] += 1

    # -- other people, and other programs with our key

    @rule(times=st.integers(1, 3))
    def targets_are_stolen(self, times: int) -> None:
        self.world.node.steal = times

    @rule(amount=st.sampled_from((900, 20_000, 70_000, 500_000)))
    def coin_arrives(self, amount: int) -> None:
        self.world.node.give(self.world.owner, amount)

    @rule(number=st.integers(0, 9))
    def coin_goes_stale(self, number: int) -> None:
        """Another program with our key pays somebody from a coin that we may be about to use."""
        coins = [c for c in self.world.our_coins() if self.world.node.is_free(c.ref) and c.balance > 10_000]
        if coins:
            ref = coins[number % len(coins)].ref
            kind = TransferCoin(ref, 1_000, STRANGER)
            self.world.act_as_owner(TransactionData(kind, self.world.owner, (ref,)))
            self.world.counts["coins gone stale"] += 1

    @rule(split=st.booleans())
    def coins_are_split_or_merged_elsewhere(self, split: bool) -> None:
        refs = [c.ref for c in self.world.our_coins() if self.world.node.is_free(c.ref) and c.balance > 10_000]
        if split and refs:
            kind = PayCoins((refs[-1],), (2_000, 3_000), (self.world.owner,) * 2)
            self.world.act_as_owner(TransactionData(kind, self.world.owner, (refs[-1],)))
        elif len(refs) > 2:
            gone = TransferCoin(refs[0], None, self.world.owner)
            self.world.act_as_owner(TransactionData(gone, self.world.owner, tuple(refs[1:3])))

    # -- what must hold

    @precondition(lambda self: self.steps > COMPARED_EVERY)
    @rule()
    def all_is_well_again(self) -> None:
        self.steps = 0
        self.recover()
        self.world.start()

    def recover(self) -> None:
        """Nothing is wrong any more and a run starts: within one cycle the books are the chain's."""
        self.world.heal()
        if self.world.run is not None:
            self.world.crash()
        self.world.pass_time(1.0)
        self.world.start(claims_only(self.policy))
        self.world.open_up()
        self.world.stop()
        assert self.world.ended_by is None, self.world.ended_by
        self.world.pass_time(1.0)
        found = self.world.differences()
        assert not found, found
        self.world.counts["recoveries compared"] += 1

    @invariant()
    def nothing_conflicts(self) -> None:
        if not hasattr(self, "world"):
            return
        self.steps += 1
        self.world.pass_time(A_LITTLE)
        assert not (found := conflicts(self.world.node, self.world.owner)), found
        if self.world.run is not None and self.world.run.ledger is not None:
            ledger, policy = self.world.run.ledger, self.policy
            doubled = "SELECT COUNT(*) AS n FROM intents WHERE subject IS NOT NULL AND status IN ('pending', 'landed') "
            assert not ledger._rows(doubled + "GROUP BY kind, subject HAVING n > 1")
            epoch = self.world.node.state.epoch
            assert policy.max_hits_per_epoch is None or ledger.hits(epoch) <= policy.max_hits_per_epoch
            assert policy.bond_cap is None or ledger.bond_outstanding() <= policy.bond_cap
            spent = "SELECT COALESCE(-SUM(amount), 0) AS fees FROM movements JOIN intents USING (digest) "
            spent += "WHERE kind = 'submit' AND item GLOB 'fee_*' AND movements.epoch = ?"
            (row,) = ledger._rows(spent, epoch)
            assert policy.gas_cap is None or row["fees"] <= policy.gas_cap + LANES * SUBMISSION_FEES

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.recover()
            self.nothing_conflicts()
        finally:
            WalletLife.totals += self.world.counts
            WalletLife.totals["transactions"] += len(self.world.node.arrivals)
            WalletLife.totals["fills"] += submissions(self.world.node, self.world.owner)
            WalletLife.totals["lives"] += 1
            self.world.close()
