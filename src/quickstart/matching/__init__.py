"""Which windows of the bank fill which targets, how safely, and what the bank could fill at all."""

from quickstart.matching.coverage import coverage
from quickstart.matching.fillable import Nearest, fillable, nearest
from quickstart.matching.matcher import Matcher
from quickstart.matching.values import Candidate, Matches, MatchTarget

__all__ = [
    "Candidate",
    "MatchTarget",
    "Matcher",
    "Matches",
    "Nearest",
    "coverage",
    "fillable",
    "nearest",
]
