"""What to score next, and what to cut next: chosen by what it adds to coverage for the time it takes."""

from quickstart.planning.costs import Spent, seconds_left, seconds_per_window
from quickstart.planning.holdings import Holdings
from quickstart.planning.model_choice import Stage, staged
from quickstart.planning.outlook import Outlook, expect
from quickstart.planning.planner import Choice, Piece, Reason, Unscored, plan, shares
from quickstart.planning.statistics import Kind, KindStatistics, ModelStatistics, Statistics
from quickstart.planning.survey import Holding, Survey

__all__ = [
    "Choice",
    "Holding",
    "Holdings",
    "Kind",
    "KindStatistics",
    "ModelStatistics",
    "Outlook",
    "Piece",
    "Reason",
    "Spent",
    "Stage",
    "Statistics",
    "Survey",
    "Unscored",
    "expect",
    "plan",
    "seconds_left",
    "seconds_per_window",
    "shares",
    "staged",
]
