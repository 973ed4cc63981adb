"""Command lines of the operator's desk. Loads nothing but the standard library."""

from pathlib import Path

from quickstart.cli.arguments import (
    MOST_EPOCH,
    CommandParser,
    add_dry_run_argument,
    add_network_arguments,
    add_output_arguments,
    add_state_argument,
    whole,
)

ALERT_ACTIONS = ("show", "check", "test")
MOST_PORT = 65535


def review_parser() -> CommandParser:
    parser = CommandParser(
        "review",
        "Look back at an epoch: what won and why, what was missed and by how much, what another dollar would bring. "
        "From the state folder alone; prints Markdown.",
    )
    parser.add_argument(
        "epoch",
        nargs="?",
        type=whole(0, MOST_EPOCH),
        metavar="EPOCH",
        help="which (default: the last one with a report)",
    )
    add_state_argument(parser)
    add_output_arguments(parser)
    return parser


def board_parser() -> CommandParser:
    parser = CommandParser(
        "board", "What is open on the network, who wins it, and where your bank has gaps; reads only, needs no key."
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="write map.svg, coverage.svg and thresholds.svg into this folder"
    )
    add_output_arguments(parser)
    parser.set_defaults(seed=0, detach=False)
    return parser


def validators_parser() -> CommandParser:
    parser = CommandParser("validators", "The validators: power, stake, commission, and what is reported of them.")
    add_network_arguments(parser)
    add_output_arguments(parser)
    parser.set_defaults(seed=0, detach=False)
    return parser


def alerts_parser() -> CommandParser:
    parser = CommandParser(
        "alerts",
        "What needs a person now; with check, for a schedule of your own, tell of what is new or over by webhook and "
        "mail; with test, send a message by each. What is deployed looks and tells by itself every half hour: a check "
        "from elsewhere adds that it is dead.",
    )
    add = parser.add_argument
    add("what", nargs="?", choices=ALERT_ACTIONS, default="show", help="what to do (default show, which tells nobody)")
    add("--local", action="store_true", help="leave Modal out")
    add("--rpc-url", metavar="URL", help="the node to ask (also QUICKSTART_RPC_URL)")
    add_dry_run_argument(parser, "show what stands, and what a test would be sent by; send nothing")
    add_state_argument(parser)
    add_output_arguments(parser)
    return parser


def dashboard_parser() -> CommandParser:
    parser = CommandParser(
        "dashboard",
        "Serve a page on this machine: money, health, submissions, epochs, plots, alarms of all wallets of the state "
        "folder. It only reads. On Modal, `uv run deploy` deploys one if QUICKSTART_DASHBOARD_PASSWORD is set.",
    )
    add = parser.add_argument
    add("--port", type=whole(0, MOST_PORT), default=8642, metavar="N", help="on 127.0.0.1 (default 8642, 0: any)")
    add("--rpc-url", metavar="URL", help="the node to ask (also QUICKSTART_RPC_URL)")
    add_state_argument(parser)
    add("--verbose", action="store_true", help="tell what happens, on standard error")
    return parser
