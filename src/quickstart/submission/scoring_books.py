"""What has been scored, written to the ledger as it comes in: names of weights, GPU time, the targets expected."""

from quickstart.executors.base import ScoreDone
from quickstart.ledger.ledger import Ledger
from quickstart.planning import Outlook
from quickstart.submission.scoring_desk import ScoringDesk


class ScoringBooks:
    """Takes in a desk's answers. What is written once is not written again."""

    def __init__(self, ledger: Ledger, desk: ScoringDesk) -> None:
        self._ledger = ledger
        self._desk = desk
        self._named = set(desk.weights_names)
        self._outlook: Outlook | None = None

    def collect(self) -> None:
        answers = self._desk.collect()
        done = [a for a in answers if isinstance(a, ScoreDone) and not a.request.exact]
        if done:
            self._ledger.add_scoring((answer.weights_checksum, answer.windows, answer.seconds) for answer in done)
        for weights_id in self._desk.weights_names.keys() - self._named:
            self._ledger.name_weights(weights_id, self._desk.weights_names[weights_id])
            self._named.add(weights_id)
        outlook = self._desk.outlook
        if outlook is not None and outlook is not self._outlook:
            self._ledger.keep_outlook(outlook.epoch, outlook.document())
            self._outlook = outlook
