"""Which windows of the bank fill which targets, how safely, and what the bank could fill at all."""

from quickstart.matching.coverage import GroupGain, coverage, gain_by_group
from quickstart.matching.fillable import fillable
from quickstart.matching.matcher import Matcher
from quickstart.matching.values import Candidate, Matches, MatchTarget

__all__ = [
    "Candidate",
    "GroupGain",
    "MatchTarget",
    "Matcher",
    "Matches",
    "coverage",
    "fillable",
    "gain_by_group",
]
