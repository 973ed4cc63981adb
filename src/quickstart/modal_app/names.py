"""Names under which everything of ours is found on Modal. Loads nothing."""

APP = "soma-quickstart"
TRAINING_APP = "soma-training"

FIRING_HOUR = 3
"""The schedule starts a cycle each day at this hour, UTC."""

SUBMITTER = "cycle"
CLAIM = "claim"
"""Both return a dict: what a session's `run` returns, or {"error": line} for what a person can mend (exit code 2), or
{"skipped": line} where there was nothing to do."""

UPKEEP = "upkeep"
REBUILD, CLEANUP = "rebuild", "cleanup"
"""What the function `UPKEEP` does, its argument; it returns what `submission.upkeep` does, or an error as above."""

WATCH = "watch"
"""Looks every half hour for what a person should hear of, and tells it."""

TRAIN, TEND, REVEAL = "train", "tend", "reveal"
"""Of the training app: what trains, and what runs on schedules."""

SCORER = "Scorer"
WEIGHTS = "fetch_weights"
WINDOWS = "cut_windows"

DICT = "soma-state"

SECRETS = "soma-secrets"
"""Everything of `.env` but the page's password and folders of one machine: wallet key, bucket, token, channels."""

DATA_SECRET = "soma-data"
"""The Hugging Face token only, for functions that read data and must not hold the wallet's key."""

DASHBOARD_APP = "soma-dashboard"
DASHBOARD = "page"
"""The page: an app of its own, and its only function."""

DASHBOARD_SECRET = "soma-dashboard"
"""The page's password, and which node to ask; no key."""

BANK_VOLUME = "soma-bank"
WEIGHTS_VOLUME = "soma-weights"
LEDGER_VOLUME = "soma-ledger"
TRAINING_VOLUME = "soma-training"
LOG_VOLUME = "soma-logs"
"""What our containers log, for `uv run logs`."""

DISARMED = "disarmed"
"""Key of the Dict: present while the schedule is stopped; its value says since when and by whom."""

RUNNING = "running"
"""Key of the Dict: the function call id of what works with the wallet: the cycle, a claim, or the upkeep."""

GPU_CALLS = "gpu-call"
"""Keys of the Dict that begin with this and a slash hold the ids of scoring calls in flight."""

AT_WORK = "at-work"
"""Keys of the Dict that begin with this and a slash: what each scorer container has last taken."""

PROGRESS = "progress"
"""Key of the Dict: (function call id, one line of text) as the cycle at work last told it, for whoever follows."""

CYCLE_SEEN = "cycle-seen"
"""Key of the Dict: ms since 1970 of the last sign of life that a cycle at work gave."""

WATCHED = "watched"
"""Key of the Dict: (ms since 1970, whether it can tell anybody) of when `WATCH` last looked."""

MODULES = ("quickstart.submitter",)
"""What `uv run deploy` deploys: the variable `app` of each."""

TRAINING_MODULE = "quickstart.training"
"""Deployed too where there is money for training."""

TRAINING = "training"
"""Keys of the Dict that begin with this and a slash are the training app's: `running`, `started`, its dollars."""

TRAINING_RUNNING, TRAINING_STARTED = f"{TRAINING}/running", f"{TRAINING}/started"
"""Keys of the Dict: the function call ids of the training at work, and of the last one that the schedule started."""

DASHBOARD_MODULE = "quickstart.dashboard.modal_page"
"""Deployed too where the page has a password."""

STARTED = "started"
"""Key of the Dict: the function call id of the last cycle that a command started; it may wait for a container."""

CLAIMING = "claiming"
"""Key of the Dict: the function call id of the last claim that a command started."""

TENDING = "tending"
"""Key of the Dict: the function call id of the last upkeep that a command started."""
