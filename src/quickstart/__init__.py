"""The SOMA quickstart: score data on rented GPUs, submit what fits, claim the rewards."""

__version__ = "0.1.0"
