"""Paged listings of an owner's objects and of targets, as a full node gives them (`soma-protocol` §8).

A page ends at its size or once it holds 512 KiB; a token names the last index entry that was looked at, so that a
listing goes on in the right place while the chain moves.
"""

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, parse_id
from quickstart.chain.objects import TargetContents
from quickstart.devnet.codec import object_message
from quickstart.devnet.index import Index, TargetKey, owned_key
from quickstart.devnet.masks import Tree, masked
from quickstart.devnet.views import target_message
from quickstart.wire import soma_pb2 as pb

PAGE_BYTES = 512 * 1024
LARGEST_PAGE = 1000

STATUS_FILTERS = ("open", "filled", "claimed", "expired", "claimable")
DEFAULT_TARGET_FIELDS = frozenset({"id", "status", "generation_epoch", "reward_pool"})


def list_owned(
    index: Index, request: pb.ListOwnedObjectsRequest, tree: Tree, now: float
) -> pb.ListOwnedObjectsResponse:
    """One page of an owner's objects, by type, coins ascending in balance.

    Raises:
        ValueError: a malformed owner or token.
    """
    last = _read_owned_token(request.page_token) if request.page_token else None
    after = last
    size = _page_size(request, 50)
    response = pb.ListOwnedObjectsResponse()
    used = 0
    for stored in index.owned(now, parse_id(request.owner)):
        key = owned_key(stored)
        if after is not None and key <= after:
            continue
        message = object_message(stored)
        if request.object_type and message.object_type != request.object_type:
            continue
        if len(response.objects) == size or used >= PAGE_BYTES:
            assert last is not None
            response.next_page_token = _owned_token(last)
            break
        used += message.ByteSize()
        response.objects.append(masked(message, tree))
        last = key
    return response


def list_targets(index: Index, request: pb.ListTargetsRequest, now: float) -> pb.ListTargetsResponse:
    """One page. Filters that are not in the index's order apply after paging: a page can be short and go on
    (§8).

    Raises:
        ValueError: an unknown status filter or a damaged token.
    """
    wanted = request.status_filter.lower() if request.HasField("status_filter") else None
    if wanted is not None and wanted not in STATUS_FILTERS:
        known = "'open', 'filled', 'claimed', 'expired', or 'claimable'"
        raise ValueError(f"invalid status_filter: '{request.status_filter}'. Must be {known}")
    names = frozenset(request.read_mask.paths) if request.HasField("read_mask") else DEFAULT_TARGET_FIELDS
    after = _read_target_token(request.page_token) if request.page_token else None
    submitter = parse_id(request.submitter_filter) if request.HasField("submitter_filter") else None
    raw_status = {"expired": "open", "claimable": None}.get(wanted or "", wanted)
    size = _page_size(request, 100)
    response = pb.ListTargetsResponse()
    used = 0
    last: TargetKey | None = None
    for key, target in index.targets(now):
        if after is not None and key <= after:
            continue
        if raw_status is not None and key[0] != raw_status:
            continue
        if request.HasField("epoch_filter") and target.generation_epoch != request.epoch_filter:
            continue
        if len(response.targets) == size or used >= PAGE_BYTES:
            assert last is not None
            response.next_page_token = _target_token(last)
            break
        last = key
        claimable = index.is_claimable(target)
        if not _matches(target, wanted, claimable) or submitter not in (None, target.submitter):
            continue
        message = target_message(key[2], target, names, claimable)
        used += message.ByteSize()
        response.targets.append(message)
    return response


def _matches(target: TargetContents, wanted: str | None, claimable: bool) -> bool:
    expired = claimable and target.submitter is None
    return {"open": not expired, "expired": expired, "claimable": claimable}.get(wanted or "", True)


def _target_token(key: TargetKey) -> bytes:
    status, epoch, target_id = key
    return bcs.string(status) + bcs.u64(epoch) + target_id


def _read_target_token(token: bytes) -> TargetKey:
    read = bcs.Reader(token)
    return read.string(), read.u64(), read.take(32)


def _owned_token(key: tuple[int, int, Id32]) -> bytes:
    kind, balance, object_id = key
    return bcs.u64(kind) + bcs.u64(balance) + object_id


def _read_owned_token(token: bytes) -> tuple[int, int, Id32]:
    read = bcs.Reader(token)
    return read.u64(), read.u64(), read.take(32)


def _page_size(request: pb.ListTargetsRequest | pb.ListOwnedObjectsRequest, default: int) -> int:
    return min(max(request.page_size, 1), LARGEST_PAGE) if request.HasField("page_size") else default
