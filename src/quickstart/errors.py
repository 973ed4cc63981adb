"""Everything this program raises on purpose.

    QuickstartError               one line for the person: what is wrong, and how to mend it
    ├── UsageError                exit code 2: a person can mend it, nothing was sent
    │   ├── SettingsError         a variable is missing or malformed
    │   ├── KeyFormatError        the secret key is not in a known format
    │   ├── SourceError           a data source is unreadable or holds no usable window
    │   │   └── SourceAccessError     a name that does not exist, or that we may not read
    │   ├── StateError            the state folder is newer, locked, damaged or full
    │   ├── FundsError            the balance does not cover what was asked
    │   ├── UnknownVersionError   protocol, architecture or SDK are newer than this program
    │   ├── LeaseHeldError        another process signs for this wallet
    │   │   └── HeldElsewhereError    one that shares no folder with us: another machine's, or Modal's
    │   └── UnreachableError      an address that was configured does not answer
    ├── WeightsError              one model's weights cannot be had or trusted: that model is excluded
    ├── DeviceMemoryError         what scores has too little memory: no model's fault
    ├── DataUnreadableError       published bytes cannot be read back: nothing is signed
    └── NetworkError              a call failed: see `chain.outcomes` for what that means for a transaction
        ├── BusyError             a service is busy; it may say for how long
        └── UnmappedFailure       a failure text no rule knows; treated as unknown, and reported

A failed transaction is a value (`chain.outcomes.Outcome`), not an exception.
"""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class QuickstartError(Exception):
    """A failure with a message for people: what is wrong and how to mend it, in one line."""

    exit_code = EXIT_FAILED


class UsageError(QuickstartError):
    """Something a person can mend. Nothing was sent."""

    exit_code = EXIT_USAGE


class SettingsError(UsageError):
    """A variable is missing or malformed; all problems are named at once."""


class KeyFormatError(UsageError):
    """The secret key is in no known format. The message never holds any part of the key."""


class SourceError(UsageError):
    """A data source cannot be read, or holds no usable window."""


class SourceAccessError(SourceError):
    """A data set that does not exist, or that is refused to us; the message says which page to open."""


class StateError(UsageError):
    """The state folder is of a newer version, in use, damaged, or its disk is full."""


class FundsError(UsageError):
    """The wallet cannot pay for what was asked."""


class UnknownVersionError(UsageError):
    """A version of protocol, architecture or SDK that this program does not know: nothing is signed."""


class LeaseHeldError(UsageError):
    """Another process holds the wallet's lease; the message says who and how to take over."""


class HeldElsewhereError(LeaseHeldError):
    """The holder shares no folder with us, so no request can be left for it there."""


class UnreachableError(UsageError):
    """A configured address does not answer; the message names it."""


class WeightsError(QuickstartError):
    """A model's weights cannot be fetched, verified, decrypted or parsed; the model is excluded, never the run."""


class DeviceMemoryError(QuickstartError):
    """A model, or a single window with it, does not fit into the memory of what scores; no model's fault."""


class DataUnreadableError(QuickstartError):
    """The public copy of published bytes is missing or differs; nothing that names it is signed."""


class NetworkError(QuickstartError):
    """A read of the network failed after its retries."""


class BusyError(NetworkError):
    """A service still was busy after our retries. `retry_after_seconds`: how long it asks to be left alone."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnmappedFailure(NetworkError):
    """A failure text that no rule of `chain.outcomes` knows."""
