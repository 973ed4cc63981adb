"""What every service is given."""

from __future__ import annotations

from dataclasses import dataclass

from ..pool import Pool
from ..web_functions import WebFunctions
from ..workspace import Workspace


@dataclass
class Service:
    """A group of RPCs: a method that begins with a capital answers the RPC of that name.

    Such a method takes the request and the stream, and returns the reply (None: an empty one) or yields replies.
    """

    workspace: Workspace
    pool: Pool
    sites: WebFunctions
    http_url: str  # of the blob store
