"""All scores so far: window bytes and, per model, embeddings and losses, in immutable segments on disk."""

from quickstart.bank.bank import Bank, Shard
from quickstart.bank.shards import ShardId
from quickstart.bank.view import BankView, ModelColumns

__all__ = ["Bank", "BankView", "ModelColumns", "Shard", "ShardId"]
