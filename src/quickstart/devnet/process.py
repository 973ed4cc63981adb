"""A devnet in a process of its own, which ends with the one that started it, however that ends."""

import asyncio
import json
import os
import sys
from pathlib import Path

from quickstart.child_environment import without_secrets
from quickstart.devnet.config import DevnetConfig, DevnetUrls
from quickstart.errors import StateError

START_SECONDS = 30.0
STOP_SECONDS = 3.0


class DevnetProcess:
    """`async with DevnetProcess(config, state_dir) as urls:`. Its log is `devnet.log` in the state folder.

    The child ends when its standard input closes, which also happens when this process is killed.
    """

    def __init__(self, config: DevnetConfig, state_dir: Path) -> None:
        self._config = config
        self._state_dir = state_dir
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> DevnetUrls:
        """Starts the child and waits until it serves.

        Raises:
            StateError: it could not start; the message is the child's own.
        """
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            log = (self._state_dir / "devnet.log").open("ab")
        except OSError as error:
            raise StateError(f"cannot write {self._state_dir} ({error.strerror}): use another state folder") from error
        with log:
            log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "quickstart.devnet",
                f"--state={self._state_dir}",
                *self._config.arguments(),
                "--parent-pipe",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**without_secrets(os.environ), "OPENBLAS_NUM_THREADS": "1"},
            )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
        except TimeoutError:
            line = b""
        except BaseException:
            await self.stop()
            raise
        if not line:
            await self.stop()
            raise StateError(self._last_words(log_start))
        return DevnetUrls(**json.loads(line))

    async def stop(self) -> None:
        """Ends the child: politely first, then by force. It loses nothing either way."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def __aenter__(self) -> DevnetUrls:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _last_words(self, log_start: int) -> str:
        with (self._state_dir / "devnet.log").open("rb") as log:
            log.seek(log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        return last.removeprefix("error: ") if last.startswith("error: ") else f"the devnet did not start: {last}"
