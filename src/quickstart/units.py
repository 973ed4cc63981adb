"""Units of the network and of time. Money is integer shannons everywhere; floats of SOMA are for display."""

SHANNONS_PER_SOMA = 1_000_000_000
BPS = 10_000

SECONDS = 1.0
MINUTES = 60.0
HOURS = 3600.0
DAYS = 86_400.0

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def format_soma(shannons: int) -> str:
    """`12685185` -> `0.012685185 SOMA`: every shannon is shown, trailing zeros are not."""
    sign = "-" if shannons < 0 else ""
    whole, fraction = divmod(abs(shannons), SHANNONS_PER_SOMA)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole:,}{'.' + digits if digits else ''} SOMA"


def basis_points(amount: int, rate_bps: int) -> int:
    """`amount` x `rate_bps` / 10,000, rounded down, as the chain does."""
    return amount * rate_bps // BPS


def age(milliseconds: int | None) -> str:
    """`5 min ago`; "never" for None."""
    return "never" if milliseconds is None else f"{span(milliseconds)} ago"


def span(milliseconds: int) -> str:
    """A time in its largest fitting unit."""
    seconds = milliseconds / 1000
    for name, unit in (("days", DAYS), ("h", HOURS), ("min", MINUTES)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
