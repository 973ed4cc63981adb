"""Which log lines of libraries are not shown."""

import logging

NAMING_URLS = ("httpx", "httpx2")
"""They log each request with its whole URL, which may be signed: until it expires, whoever has it may read or write."""


def hide_urls() -> None:
    """Of what libraries log about requests only warnings, whatever else is shown."""
    for name in NAMING_URLS:
        logging.getLogger(name).setLevel(logging.WARNING)
