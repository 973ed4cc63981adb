"""Lives of a wallet told as text, one hash per life: what two runs of the same seed are compared by.

python -m tests.campaign.event_log SEED LIVES
"""

import hashlib
import logging
import random
import sys

from quickstart.chain.board import Board
from quickstart.matching.matcher import Matcher
from quickstart.submission.actions import Policy
from quickstart.submission.scoring_desk import ScoringDesk
from tests.campaign.product_run import NothingToScore
from tests.campaign.pure_sdk import reader_of
from tests.campaign.simulation import SOMA, Simulation, made_up_bank

STEPS = 25


def life(seed: int) -> str:
    """Everything that happened in one life, with its simulated time; transactions by digest, so all they say counts."""
    draw = random.Random(seed)
    random.seed(seed)  # the jitter of pauses
    world = Simulation(Policy(lanes=4, max_hits_per_epoch=None, patient=True), coins=(SOMA,))
    world.start()
    for _ in range(STEPS):
        _something_happens(world, draw)
        world.pass_time(draw.uniform(0.1, 1.0))
        if world.run is None:
            world.start()
    events = "\n".join(world.node.events)
    world.close()
    return events


def _something_happens(world: Simulation, draw: random.Random) -> None:
    node = world.node
    what = draw.randrange(8)
    if what == 0:
        world.crash()
    elif what == 1:
        world.cut_at = draw.randint(1, 12)
    elif what == 2:
        node.lose_replies = draw.randint(1, 3)
    elif what == 3:
        node.frozen_until = world.loop.time() + draw.uniform(0.5, 5.0)
    elif what == 4:
        node.steal = draw.randint(1, 3)
    elif what == 5:
        node.end_epoch()
    elif what == 6:
        node.give(world.owner, draw.choice((900, 70_000)))


def decisions() -> str:
    """What is matched on a recorded board and bank, to the last bit."""
    world = Simulation()
    board: Board = world.loop.run(reader_of(world.node).board())
    made_up = made_up_bank()
    desk = ScoringDesk(made_up.bank, NothingToScore(), made_up.names)
    targets = desk.match_targets(board.targets.values(), board)
    matcher = Matcher()
    found = matcher.match(desk.view(), sorted(targets, key=lambda target: target.target_id))
    matcher.close()
    desk.close()
    world.close()
    return "\n".join(map(repr, found.items()))


def main() -> None:
    logging.disable(logging.CRITICAL)
    seed, lives = int(sys.argv[1]), int(sys.argv[2])
    for text in (decisions(), *(life(seed * 100_003 + number) for number in range(lives))):
        print(hashlib.sha256(text.encode()).hexdigest(), text.count("\n") + 1, flush=True)


if __name__ == "__main__":
    main()
