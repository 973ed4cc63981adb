"""`python -m quickstart.devnet`: a devnet as a child process, see `process.DevnetProcess`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys

from quickstart.devnet.config import DevnetUrls, add_arguments, config_from
from quickstart.devnet.server import serve_until
from quickstart.errors import QuickstartError
from quickstart.logs import hide_urls


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m quickstart.devnet")
    add_arguments(parser)
    parser.add_argument("--parent-pipe", action="store_true", help="end when standard input closes; ignore Ctrl-C")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    hide_urls()
    try:
        asyncio.run(_serve(args))
    except QuickstartError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


async def _serve(args: argparse.Namespace) -> None:
    config = config_from(args)
    if not args.parent_pipe:
        await serve_until(config, _announce)
        return
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    os.set_blocking(sys.stdin.fileno(), False)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            closed.set()

    loop.add_reader(sys.stdin.fileno(), read)

    def announce(urls: DevnetUrls) -> None:
        # The terminal's Ctrl-C reaches the whole group: the parent decides what it means.
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _announce(urls)

    await serve_until(config, announce, closed)


def _announce(urls: DevnetUrls) -> None:
    sys.stdout.write(json.dumps(urls.as_dict()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
