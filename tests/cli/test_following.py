"""What a run on Modal ends with here: its exit code, and what is printed."""

import argparse
import json
from dataclasses import dataclass
from typing import Any

import pytest

from quickstart.cli.following import follow
from quickstart.cli.rendering import result_code


@dataclass
class Ended:
    """A call that is over (`modal.FunctionCall`)."""

    result: dict[str, Any]
    object_id: str = "fc-1"

    def get(self, timeout: float | None = None) -> dict[str, Any]:
        return self.result


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"alarms": [], "interrupted": False}, 0),
        ({"skipped": "fc-2 is at work"}, 0),
        ({"alarms": [{"kind": "unreadable"}], "interrupted": False}, 0),
        ({"alarms": [{"kind": "unknown_version"}], "interrupted": False}, 1),
        ({"alarms": [], "interrupted": True}, 1),
        ({"error": "no such bucket"}, 2),
        ({"error": "the node is away", "exit_code": 1}, 1),
    ],
)
def test_a_run_ends_with_the_same_code_here_and_on_modal(
    result: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    followed = follow(Ended(result), {}, argparse.Namespace(json=True, detach=False), found=False, leaving="")
    assert followed == result_code(result) == code
    assert json.loads(capsys.readouterr().out) == result
