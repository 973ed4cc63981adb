"""What travels between the submitter and the functions it calls: dictionaries of builtins.

A redeployed scorer answers an older submitter and the other way round: fields are added, never renamed.
"""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from quickstart.chain.ids import Id32
from quickstart.chain.transactions import Manifest
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed, ScoreRequest
from quickstart.scoring.download import Downloader
from quickstart.scoring.weights_store import WeightsStore

Message: TypeAlias = dict[str, Any]


def score_message(request: ScoreRequest, weights_checksum: Id32, soon: Iterable[Id32]) -> Message:
    """What a scorer needs to know. No key: the weights lie decrypted where it reads them. `soon`: weights that it may
    be asked for next, which it reads meanwhile.
    """
    return {
        "shard": request.shard,
        "weights": weights_checksum.hex(),
        "rows": None if request.rows is None else list(request.rows),
        "exact": request.exact,
        "soon": [checksum.hex() for checksum in soon],
    }


def weights_message(request: ScoreRequest) -> Message:
    manifest = request.manifest
    return {
        "url": manifest.url,
        "checksum": manifest.checksum.hex(),
        "size": manifest.size,
        "key": request.decryption_key.hex(),
    }


def manifest_of(message: Message) -> tuple[Manifest, bytes]:
    """The published file and its key, of a `weights_message`."""
    manifest = Manifest(message["url"], bytes.fromhex(message["checksum"]), message["size"])
    return manifest, bytes.fromhex(message["key"])


def weights_store(message: Message, folder: Path) -> WeightsStore:
    """Where a `weights_message` has its file fetched: from public hosts, unless it says that the network is our own."""
    return WeightsStore(folder, downloader=Downloader(private_hosts=message.get("private_hosts", False)))


def failure(reason: str, *, model_at_fault: bool, put_off: bool = False) -> Message:
    return {"failed": reason, "model_at_fault": model_at_fault, "put_off": put_off}


def answer_to(request: ScoreRequest, message: Message) -> ScoreAnswer:
    """A scorer's or the weights function's message as the answer to a request."""
    if "failed" in message:
        return ScoreFailed(request, message["failed"], message["model_at_fault"], message.get("put_off", False))
    weights = bytes.fromhex(message["weights"])
    return ScoreDone(request, weights, message["windows"], message["failures"], message["seconds"])


def name_of(request: ScoreRequest) -> str:
    """32 hexadecimal digits, the same for the same request in any process."""
    content = repr((request.shard, request.weights_id.hex(), request.rows, request.exact))
    return blake2b(content.encode(), digest_size=16).hexdigest()
