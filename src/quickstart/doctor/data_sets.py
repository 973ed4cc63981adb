"""The data sets of the configured source: whether our account may read each, token and terms."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from quickstart.data.patience import Patience
from quickstart.data.sources import DEFAULT_SOURCE, hub_sets
from quickstart.doctor.findings import Finding, error, not_checked, ok, warning
from quickstart.doctor.surroundings import Surroundings, in_thread
from quickstart.errors import SourceAccessError, SourceError

if TYPE_CHECKING:
    from quickstart.data.hub import Hub

PATIENCE_SECONDS = 8.0


async def check_data(at: Surroundings) -> Sequence[Finding]:
    """Asks the hub for each data set; it says whether the token is good and whether the terms were accepted."""
    if at.settings is None:
        return [not_checked("data", "the settings are malformed", f"correct {at.env_file}")]
    source = at.settings.source or DEFAULT_SOURCE
    try:
        repositories = hub_sets(source)
    except SourceError as trouble:
        return [error("data", str(trouble), "correct QUICKSTART_SOURCE; README: Data")]
    if not repositories:
        return [ok("data", f"{source} needs no data set of the hub")]
    if find_spec("pyarrow") is None:
        return [not_checked("data", "the extra `data` is not installed here", "`uv sync --extra data`")]
    from quickstart.data.hub import PUBLIC_ENDPOINT, Hub

    token, endpoint = at.settings.hf_token, at.settings.hf_endpoint or PUBLIC_ENDPOINT
    hub = Hub(endpoint, token.get_secret_value() if token else None, Patience(endpoint, limit=PATIENCE_SECONDS))
    return [await in_thread(_asked, hub, name, len(repositories) == 1) for name in repositories]


def _asked(hub: "Hub", repository: str, alone: bool) -> Finding:
    page = f"{hub.endpoint}/datasets/{repository}"
    try:
        hub.check_access(repository)
    except SourceAccessError as refused:
        # A mixture leaves out what may not be read, and goes on with the rest.
        return (error if alone else warning)("data", str(refused), page)
    except SourceError as trouble:
        return warning("data", str(trouble), page)
    return ok("data", f"{repository} may be read")
