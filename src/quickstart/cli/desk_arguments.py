"""Command lines of the operator's desk. Loads nothing but the standard library."""

from pathlib import Path

from quickstart.cli.arguments import (
    MOST_EPOCH,
    CommandParser,
    add_network_arguments,
    add_output_arguments,
    add_state_argument,
    whole,
)


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
