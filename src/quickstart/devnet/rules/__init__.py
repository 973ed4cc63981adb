"""What each kind of transaction does. A rule stages changes or raises `ExecutionFailed`; it never sees a
clock."""

from quickstart.chain.transactions import OtherKind
from quickstart.devnet.effects import ErrorKind, ExecutionFailed
from quickstart.devnet.rules import coins, models, submissions
from quickstart.devnet.staging import Staged

_RULES = {**coins.RULES, **models.RULES, **submissions.RULES}


def run_kind(staged: Staged) -> None:
    """Runs the rule of the staged transaction's kind.

    Raises:
        ExecutionFailed: the rule's first failing check; validator and validator-staking kinds always.
    """
    kind = staged.transaction.kind
    if isinstance(kind, OtherKind):
        raise ExecutionFailed(
            ErrorKind.OTHER_ERROR,
            f"transaction kind {kind.index} is not supported by this devnet: it has no validator pools",
        )
    _RULES[type(kind)](staged, kind)
