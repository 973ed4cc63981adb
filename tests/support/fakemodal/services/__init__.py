"""The RPCs of the control plane, one module per noun."""

from __future__ import annotations

from ..pool import Pool
from ..web_functions import WebFunctions
from ..workspace import Workspace
from .apps import Apps
from .base import Service
from .calls import Calls
from .containers import Containers
from .dicts import Dicts
from .files import Files
from .functions import Functions
from .identity import Identity
from .queues import Queues
from .secrets import Secrets
from .volumes import Volumes

ALL: tuple[type[Service], ...] = (
    Identity,
    Apps,
    Files,
    Secrets,
    Volumes,
    Dicts,
    Queues,
    Functions,
    Calls,
    Containers,
)


def make_services(workspace: Workspace, pool: Pool, sites: WebFunctions, http_url: str) -> list[Service]:
    return [kind(workspace, pool, sites, http_url) for kind in ALL]
