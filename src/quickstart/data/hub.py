"""The Hugging Face hub: which files a data set has, ranges of them, and what its refusals mean.

huggingface_hub makes addresses, headers and errors; waiting and going on are ours (`Patience`), so that a run of hours
survives an hour's trouble and a cursor can point into the middle of a file.
"""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import get_session, hf_raise_for_status

from quickstart.data.parquet import FileSet, MissingFileError
from quickstart.data.patience import BUSY_STATUS, Patience, TransientError, retry_after
from quickstart.errors import SourceAccessError, SourceError
from quickstart.units import MIB, SECONDS

T = TypeVar("T")

PUBLIC_ENDPOINT = "https://huggingface.co"
TIMEOUT = 30 * SECONDS
BLOCK_BYTES = 1 * MIB
KEPT_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """A data set at one commit. `card`: what its README declares, such as `license` and `configs`."""

    revision: str
    card: Mapping[str, Any]


class Hub:
    """Reads data sets. Every failure that a person can mend is a `SourceError` of one line."""

    def __init__(self, endpoint: str | None, token: str | None, patience: Patience | None = None) -> None:
        self.endpoint = endpoint or PUBLIC_ENDPOINT
        self.token = token
        self.patience = patience or Patience(self.endpoint)
        self._api = HfApi(endpoint=self.endpoint, token=token or False)
        self._facts: dict[tuple[str, str | None], RepositoryFacts] = {}
        self._headers = build_hf_headers(token=token or False)

    def facts(self, repository: str, revision: str | None = None) -> RepositoryFacts:
        """The newest commit, or `revision` if it is still there; asked once."""
        if (repository, revision) not in self._facts:
            try:
                info = self._call(
                    repository, lambda: self._api.dataset_info(repository, revision=revision, timeout=TIMEOUT)
                )
            except RevisionNotFoundError:
                if revision is None:
                    raise SourceError(f"{self._page(repository)} has no commit: see that page in a browser") from None
                return self.facts(repository)
            self._facts[repository, revision] = RepositoryFacts(info.sha or "", _declared(info.card_data))
        return self._facts[repository, revision]

    def check_access(self, repository: str) -> None:
        """Asks whether our account may read a data set's files; a listing of a gated one says nothing of that.

        Raises:
            SourceAccessError: it may not; says what to do.
            SourceError: the hub does not answer.
        """
        self._call(repository, lambda: self._api.auth_check(repository, repo_type="dataset"))

    def paths(self, repository: str, folder: str, revision: str) -> dict[str, int]:
        """Paths and sizes of all files below a folder.

        Raises:
            SourceAccessError: there is no such folder.
        """

        def listing() -> dict[str, int]:
            tree = self._api.list_repo_tree(
                repository, folder or None, recursive=True, revision=revision, repo_type="dataset"
            )
            return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}

        try:
            return self._call(repository, listing)
        except EntryNotFoundError:
            parent = folder.rpartition("/")[0]
            raise SourceAccessError(
                f"{repository} has no folder {folder}: {self._page(repository)}/tree/main/{parent} lists those it has"
            ) from None

    def file_set(self, repository: str, sizes: Mapping[str, int], revision: str) -> FileSet:
        """Those files, for pyarrow."""
        return FileSet(revision, list(sizes), lambda path: self._open(repository, path, revision, sizes[path]))

    def _open(self, repository: str, path: str, revision: str, size: int) -> io.BufferedIOBase | io.RawIOBase:
        return _RemoteFile(size, lambda start, end: self._range(repository, path, revision, start, end))

    def _range(self, repository: str, path: str, revision: str, start: int, end: int) -> bytes:
        url = hf_hub_url(repository, path, repo_type="dataset", revision=revision, endpoint=self.endpoint)
        headers = {**self._headers, "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}

        def attempt() -> bytes:
            response = get_session().get(url, headers=headers, timeout=TIMEOUT, follow_redirects=True)
            if response.status_code in (404, 410) and "X-Error-Code" not in response.headers:
                raise MissingFileError(path)  # listed by the hub, and not where the hub sends us
            hf_raise_for_status(response)
            if len(response.content) != end - start:
                raise TransientError(f"{len(response.content)} bytes instead of {end - start}")
            return response.content

        try:
            return self._call(repository, attempt)
        except EntryNotFoundError as error:
            raise MissingFileError(path) from error

    def _call(self, repository: str, attempt: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return attempt()
            except httpx2.TransportError as error:
                raise TransientError(f"{type(error).__name__}: {error}") from error
            except (EntryNotFoundError, RevisionNotFoundError):
                raise
            except HfHubHTTPError as error:
                raise self.explain(repository, error) from error

        return self.patience.call(translated)

    def explain(self, repository: str, error: HfHubHTTPError) -> SourceError | TransientError:
        """What an answer means: try again, or which of the ways to be refused it is.

        A request with a token that is answered 401 has a bad token: a good one gets 403 or 404. Without a token, 401
        also stands for a name that does not exist.
        """
        status, page, tokens = error.response.status_code, self._page(repository), f"{self.endpoint}/settings/tokens"
        if status in BUSY_STATUS:
            return TransientError(f"HTTP {status}", retry_after(error.response.headers))
        if self.token and status == 401:
            return SourceAccessError(f"HF_TOKEN is expired, revoked or mistyped: make a new one at {tokens} and set it")
        if isinstance(error, GatedRepoError):
            if not self.token:
                return SourceAccessError(
                    f"{repository} asks for a token: log in, accept its terms at {page}, make a token at {tokens}, "
                    "and set HF_TOKEN"
                )
            return SourceAccessError(
                f"the account of HF_TOKEN has not been granted {repository}: open {page} as that account and accept "
                "its terms (a fine-grained token must also be allowed to read gated repositories)"
            )
        if isinstance(error, RepositoryNotFoundError):
            private = "" if self.token else " (a private one asks for HF_TOKEN)"
            return SourceAccessError(f"there is no data set {repository}: compare the name with {page}{private}")
        if status == 403:
            return SourceAccessError(f"HF_TOKEN may not read {repository}: change its permissions at {tokens}")
        return SourceError(f"{page} answers HTTP {status}: see that page in a browser")

    def _page(self, repository: str) -> str:
        return f"{self.endpoint}/datasets/{repository}"


def _declared(card: Any) -> Mapping[str, Any]:
    """What a README's head declares."""
    return dict(card.to_dict()) if card else {}


class _RemoteFile(io.RawIOBase):
    """A file read in aligned blocks, of which the last few are kept: pyarrow reads columns a megabyte at a time."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Exactly `size` bytes unless the file ends: pyarrow takes a short read for a broken file."""
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        pieces = []
        while self._position < end:
            number = self._position // BLOCK_BYTES
            start = self._position - number * BLOCK_BYTES
            piece = self._block(number)[start : start + end - self._position]
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            start = number * BLOCK_BYTES
            block = self._fetch(start, min(self._size, start + BLOCK_BYTES))
            self._blocks[number] = block
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return block
