"""What a bank holds, asked window by window."""

from quickstart.bank import Bank


def checksums_in(bank: Bank) -> set[bytes]:
    """The names of all its windows, each proven by its bytes."""
    return {window.checksum for shard in bank.shards() for window in bank.windows(shard.id)}
