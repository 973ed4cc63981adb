"""Command lines of what makes a model of one's own. Loads nothing but the standard library."""

import argparse
import math
import os
from pathlib import Path

from quickstart.cli.arguments import (
    MOST_SEED,
    CommandParser,
    add_network_arguments,
    add_output_arguments,
    whole,
)
from quickstart.units import SHANNONS_PER_SOMA

DEVNET_STEPS = 40
"""Steps of a run on the embedded network when nothing is said: about half a minute of one core."""


def train_parser() -> CommandParser:
    parser = CommandParser(
        "train",
        "Train a model on windows of the sources and measure it against a network's present models; on a devnet also "
        "commit and reveal it, submit what it wins, and claim.",
    )
    add_network_arguments(parser)
    add = parser.add_argument
    add("--source", metavar="SOURCE", action="append", default=[], help="as of `submit`; repeatable")
    add("--steps", type=whole(1, 10**8), metavar="N", help=f"steps in all (default {DEVNET_STEPS} on a devnet)")
    add("--out", type=Path, metavar="DIR", help="folder of the run; the same folder goes on with it")
    add("--start", metavar="WHAT", help="`best` present model, `scratch`, or a safetensors file (default: best if any)")
    add("--width", type=whole(8, 8192), default=2048, metavar="W", help="from scratch: width (default 2048)")
    add("--layers", type=whole(1, 128), default=24, metavar="L", help="from scratch: layers (default 24)")
    add("--feed-forward", type=whole(1, 65536), metavar="F", help="from scratch: inner width (default 4 x width)")
    add("--batch", type=whole(1, 4096), default=8, metavar="B", help="windows at a time (default 8)")
    add("--accumulate", type=whole(1, 4096), default=1, metavar="A", help="batches a step (default 1)")
    add("--learning-rate", type=rate, metavar="R", help="peak (default: by width)")
    add("--warmup", type=whole(1, 10**6), default=20, metavar="N", help="steps of warm-up (default 20)")
    add("--bf16", action="store_true", help="matrix products in bfloat16")
    add("--checkpointing", action="store_true", help="keep no activations of layers: less memory, more time")
    add("--checkpoint-every", type=whole(1, 10**6), default=50, metavar="N", help="steps (default 50)")
    add("--keep", type=whole(1, 1000), default=3, metavar="K", help="checkpoints kept (default 3)")
    add("--device", default="auto", metavar="D", help="cpu, cuda, or auto (default)")
    add("--held-out", type=whole(8, 100_000), default=96, metavar="N", help="windows to evaluate on (default 96)")
    add("--stake", type=soma, metavar="SOMA", help="stake to reckon with (default: the network's least)")
    add(
        "--windows", type=whole(1, 10**6), default=120, metavar="N", help="on a devnet: windows to submit (default 120)"
    )
    add("--max-hits", type=whole(1, 10**6), default=60, metavar="N", help="on a devnet: submissions an epoch (60)")
    add(
        "--workers", type=whole(1, 256), metavar="N", default=os.cpu_count() or 1, help="on a devnet: scoring processes"
    )
    add("--seed", type=whole(0, MOST_SEED), default=0, metavar="N", help="of data order, noise and first weights")
    add("--dry-run", action="store_true", help="say what it would train, stake and send; do none of it")
    add_output_arguments(parser)
    parser.set_defaults(detach=False)
    return parser


def publish_parser() -> CommandParser:
    parser = CommandParser(
        "publish",
        "Publish a trained model: encrypt, upload, check, keep its key, stake and commit. Its reveal in the next "
        "epoch is made by `submit`, or by `reveal`.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="what `train --out DIR` left")
    add_network_arguments(parser)
    add = parser.add_argument
    add("--update", action="store_true", help="new weights for the active model; no stake is asked for")
    add("--stake", type=soma, metavar="SOMA", help="of a first model (default: the network's least)")
    add("--commission", type=whole(0, 10_000), default=1_000, metavar="BPS", help="of a first model (default 1000)")
    add("--keep", type=soma, default=SHANNONS_PER_SOMA, metavar="SOMA", help="left for gas and bonds (default 1)")
    add("--compound", type=whole(0, 100), default=0, metavar="PERCENT", help="of the model's rewards, added as stake")
    add("--yes", action="store_true", help="do not ask")
    add("--dry-run", action="store_true", help="say what it would do and cost; upload, sign and send nothing")
    add_output_arguments(parser)
    parser.set_defaults(detach=False, seed=0)
    return parser


def reveal_parser() -> CommandParser:
    parser = CommandParser("reveal", "Reveal what was committed in the last epoch; tries until it is done.")
    add_network_arguments(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the epoch in which it is due")
    parser.add_argument("--dry-run", action="store_true", help="say what is due; sign and send nothing")
    add_output_arguments(parser)
    parser.set_defaults(detach=False, seed=0)
    return parser


def niches_parser() -> CommandParser:
    parser = CommandParser(
        "niches", "Where the present models are weak, by kind of data in the bank, and what a stake would buy there."
    )
    add_network_arguments(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the table as an SVG plot too")
    parser.add_argument("--stake", type=soma, metavar="SOMA", help="stake to reckon with (default: the least)")
    add_output_arguments(parser)
    parser.set_defaults(detach=False, seed=0)
    return parser


def soma(text: str) -> int:
    """Type of an option: an amount of SOMA with at most nine decimals, as shannons."""
    whole_part, _, decimals = text.strip().replace("_", "").partition(".")
    digits = whole_part + decimals
    if digits.isascii() and digits.isdigit() and whole_part and len(decimals) <= 9 and len(whole_part) <= 12:
        return int(whole_part) * SHANNONS_PER_SOMA + int(decimals.ljust(9, "0"))
    raise argparse.ArgumentTypeError(f"an amount of SOMA with at most nine decimals is wanted, not {text[:40]!r}")


def rate(text: str) -> float:
    """Type of an option: a learning rate."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and at most 1 is wanted, not {text[:40]!r}")
    return value
