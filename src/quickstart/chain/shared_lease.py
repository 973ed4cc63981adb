"""The wallet's lease across machines: a record in a store that both reach, renewed while it is held.

The store needs one thing: a write that succeeds only if nobody has written since it was read. Clocks of different
machines are never compared. The holder counts from before it sent the last renewal that the store took: once `ttl`
seconds have passed it holds nothing, whatever the store says. A contender takes over when the record has not changed
for `ttl` seconds and a margin, counted from after it saw the record first. Clocks may run up to `CLOCK_ERROR` fast or
slow; both count the time that a machine sleeps, so a laptop that was closed finds that it holds nothing.

What no lease can do: stop a process that freezes between asking `held` and sending what it signed. Its bytes name coin
versions that are in the ledger, and the outbox asks right before it signs.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol

from quickstart.chain.lease import UNREADABLE, Holder, Lease
from quickstart.errors import HeldElsewhereError, NetworkError

log = logging.getLogger(__name__)

TTL_SECONDS = 30.0
RENEW_SECONDS = 5.0
POLL_SECONDS = 1.0
SILENT_SECONDS = 7.0
"""A holder that has not renewed for so long is told of to whoever waits for its end; a living one would have."""

CLOCK_ERROR = 0.04
"""Share by which any clock may run fast or slow; quartz is a thousand times better."""

PATIENCE = (1 + CLOCK_ERROR) / (1 - CLOCK_ERROR)
"""How much longer a contender waits than the holder counts, by their own clocks."""

GIVE_UP_SECONDS = 3600.0
"""A holder that was away for longer never renews again; stores forget what was written long ago."""


class ConditionalStore(Protocol):
    """Small values that several machines share.

    Raises:
        NetworkError: by either method, when the outcome is not known.
    """

    def read(self, key: str) -> tuple[bytes, str] | None:
        """The value and its version; None if there is none."""
        ...

    def write_if(self, key: str, value: bytes, version: str | None) -> str | None:
        """Writes if the version is still that one (None: if there is no value); the new version, None if refused."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """What the store holds. `holder` None: free. `owner` is one lease's own, `write` one write's, so all differ."""

    holder: Holder | None
    owner: str
    write: str
    ttl_seconds: float

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> "Record":
        """A record that cannot be read counts as somebody's, and is waited for like any other."""
        try:
            fields = json.loads(value)
            holder = fields["holder"]
            owner, write, ttl = str(fields["owner"]), str(fields["write"]), float(fields["ttl_seconds"])
            if not 0 < ttl <= GIVE_UP_SECONDS:
                raise ValueError("not a time that a lease holds")
            return cls(Holder.read(holder) if holder is not None else None, owner, write, ttl)
        except UNREADABLE:
            return cls(_UNKNOWN, "", "", TTL_SECONDS)


_UNKNOWN = Holder(0, "an unknown machine", "another program", 0.0)


def elapsed_seconds() -> float:
    """Seconds from some moment on, those included that the machine slept, which `time.monotonic` leaves out."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SharedLease:
    """A lease on `key`. Taken by `__enter__`, which returns once it is held, and renewed by a thread from then on.

    `attempt`, `renew` and `release` are its steps, for whoever brings a clock and a schedule of its own. `close` is
    called at the end, also when it is not got.

    Raises:
        HeldElsewhereError: whoever holds it is alive; within `RENEW_SECONDS` and a little.
        NetworkError: the store does not answer.
    """

    def __init__(
        self,
        store: ConditionalStore,
        key: str,
        command: str,
        *,
        ttl_seconds: float = TTL_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        clock: Callable[[], float] = elapsed_seconds,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._key = key
        self._command = command
        self._ttl = ttl_seconds
        self._renew_seconds = renew_seconds
        self._clock = clock
        self._close = close
        self._owner = uuid.uuid4().hex
        self._me: Holder | None = None
        self._version: str | None = None
        self._until: float | None = None
        self._seen: tuple[str, float] | None = None
        self._told = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "SharedLease":
        try:
            while (wait := self.attempt()) is not None:
                self._over.wait(wait)
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._renew_for_ever, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.release()
        self._close()

    def held(self) -> bool:
        """Whether nobody else can have taken it by now."""
        until = self._until
        return until is not None and self._clock() < until

    def attempt(self) -> float | None:
        """One look at the record, and the lease if it is free. Seconds to wait for the next look; None once held."""
        found = self._store.read(self._key)
        now = self._clock()  # after the answer: the record may have been written while it was on its way
        if found is None:
            return self._take(None)
        version, record = found[1], Record.decode(found[0])
        if record.holder is None or record.owner == self._owner:
            return self._take(version)
        if self._seen is None:
            self._seen = version, now
            return _poll_seconds(record)
        if self._seen[0] != version:
            self._seen = None
            raise HeldElsewhereError(_held_message(record))
        left = self._seen[1] + record.ttl_seconds * PATIENCE - now
        if left >= 0:
            if not self._told and now - self._seen[1] >= SILENT_SECONDS:
                self._told = True
                log.warning("%s; it is silent: waiting up to %.0f s for its end", _held_message(record), left)
            return _poll_seconds(record)
        log.warning("taking the wallet's lease over from %s, which has gone silent", record.holder.describe())
        return self._take(version)

    def renew(self) -> bool:
        """Prolongs what is held. False once it is lost for good; a store that does not answer loses nothing yet."""
        if self._until is None:
            return False
        started = self._clock()
        if started - self._until > GIVE_UP_SECONDS:
            self._until = None
            return False
        try:
            written = self._write(self._me, self._version)
        except NetworkError as error:
            log.info("the wallet's lease was not renewed this time: %s", error)
            return True
        if written is None:
            self._until = None
            log.error("the wallet's lease was lost to another process; nothing more is signed here")
            return False
        self._version, self._until = written, started + self._ttl
        return True

    def release(self) -> None:
        """Lets go: at once here, and in the store if it can be reached; else it runs out there."""
        if self._until is None:
            return
        self._until = None
        try:
            self._write(None, self._version)
        except NetworkError as error:
            log.warning("the wallet's lease was not given back (%s); it runs out within %.0f s", error, self._ttl)

    def _take(self, version: str | None) -> float | None:
        self._seen = None
        started = self._clock()
        self._me = Holder(os.getpid(), socket.gethostname(), self._command, time.time())
        written = self._write(self._me, version)
        if written is None:
            return 0.0
        self._version, self._until = written, started + self._ttl
        return None

    def _write(self, holder: Holder | None, version: str | None) -> str | None:
        """The record's new version; None if somebody else's write came first.

        After any doubt the record is read: a write whose answer was lost may have been taken, and a service's own
        second try of one that was taken is refused.

        Raises:
            NetworkError: not known, or an earlier write of ours came in late; the next one will tell.
        """
        value = Record(holder, self._owner, uuid.uuid4().hex, self._ttl).encode()
        doubt: NetworkError | None = None
        try:
            written = self._store.write_if(self._key, value, version)
        except NetworkError as error:
            written, doubt = None, error
        if written is not None:
            return written
        found = self._store.read(self._key)
        if found is not None and found[0] == value:
            return found[1]
        if found is not None and Record.decode(found[0]).owner == self._owner and version is not None:
            self._version = found[1]
            raise doubt or NetworkError("an earlier renewal came in late")
        if doubt is not None and (found[1] if found else None) == version:
            raise doubt
        return None

    def _renew_for_ever(self) -> None:
        while not self._over.wait(self._renew_seconds):
            try:
                if not self.renew():
                    return
            except Exception:
                # The thread's boundary: as long as this goes on the lease runs out by itself, and nothing is signed.
                log.exception("the wallet's lease cannot be renewed")


class AllOf:
    """Several leases as one: taken in order, held while all are."""

    def __init__(self, *leases: Lease) -> None:
        self._leases = leases
        self._stack = ExitStack()

    def __enter__(self) -> "AllOf":
        with ExitStack() as stack:
            for lease in self._leases:
                stack.enter_context(lease)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def held(self) -> bool:
        return all(lease.held() for lease in self._leases)


def _poll_seconds(record: Record) -> float:
    return min(POLL_SECONDS, record.ttl_seconds / 10)


def _held_message(record: Record) -> str:
    assert record.holder is not None
    return (
        f"{record.holder.describe()} signs for this wallet; stop it (on Modal: `uv run stop`, else Ctrl-C there) "
        f"and run this again to take over; one that was killed is succeeded after {record.ttl_seconds:.0f} s"
    )
