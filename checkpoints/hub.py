"""What a checkpoint's repository holds, and the bytes of its files, over huggingface_hub's own connection.

Its `hf_hub_download` starts a file anew when a process ends before the file does. Here a file is asked for from
where it stopped; naming it by its commit makes sure that it is still the same file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import httpx2
from huggingface_hub import HfApi, get_session, get_token, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoSibling

from checkpoints.manifest import Kept, inside
from checkpoints.table import Checkpoint, completed
from core.errors import CheckpointError, StudioError

TIMEOUT_S = 15.0
"""Of silence, not of the whole transfer."""

EXTRAS = ("*.json", "*.jinja", "*.txt", "LICENSE*")
EXTRA_BYTES = 5_000_000
"""Beside the weights, small texts are taken along: generation settings, chat templates, licences."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a server answers when it is worth another try."""

OFFLINE_HINT = "Unset HF_HUB_OFFLINE, or bring the files in: ./studio checkpoints import NAME FOLDER."


@dataclass(frozen=True, kw_only=True)
class RemoteFile(Kept):
    """A file to bring, and its address."""

    url: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Where a checkpoint comes from, down to the commit, and its files; the one that marks it complete comes last."""

    source: str
    files: tuple[RemoteFile, ...]


class Interrupted(StudioError):
    """A line that broke, or a server that is busy: worth another try, after `after_s` seconds if it said so."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message, "Start the download again later: it continues where it stopped.")
        self.after_s = after_s


def listing(checkpoint: Checkpoint, endpoint: str | None = None) -> Listing:
    """The files of a checkpoint as they are now. Raises Interrupted, or StudioError for what no patience helps."""
    with _line_errors(checkpoint.repo):
        return _in_repository(checkpoint, endpoint)


def _in_repository(checkpoint: Checkpoint, endpoint: str | None) -> Listing:
    api = HfApi(endpoint=endpoint)
    prefix = f"{checkpoint.folder}/" if checkpoint.folder else ""
    with _distrusting(checkpoint.repo):
        info = api.model_info(checkpoint.repo, revision=checkpoint.revision, files_metadata=True, timeout=TIMEOUT_S)
        commit = info.sha or checkpoint.revision
        paths = {inside(sibling.rfilename): sibling for sibling in info.siblings or ()}
        below = {path.removeprefix(prefix): sibling for path, sibling in paths.items() if path.startswith(prefix)}
        files = []
        for path in _wanted(checkpoint, below):
            url = hf_hub_url(checkpoint.repo, prefix + path, revision=commit, endpoint=endpoint)
            size, digest = _facts_of(path, below[path])
            files.append(RemoteFile(path=path, bytes=size, digest=digest, url=url))
            checkpoint.check(files[-1])
    return Listing(source=f"{checkpoint.repo}@{commit}", files=tuple(files))


@contextmanager
def _distrusting(repo: str) -> Iterator[None]:
    """Refuse a server's answer that is no list of files, or one whose names, sizes or checksums cannot be."""
    try:
        yield
    except HfHubHTTPError:  # some of these are ValueErrors too
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as odd:
        raise CheckpointError(
            f"The server's list of files of {repo} cannot be trusted: {odd}.",
            "Nothing was written. Ask another server: unset HF_ENDPOINT, or wait until this one is mended.",
        ) from odd


def _wanted(checkpoint: Checkpoint, below: dict[str, RepoSibling]) -> list[str]:
    """The paths that the row asks for and the small texts beside them; what its first pattern names comes last.

    Nothing counts as installed without that file, so a download that was cut off never looks complete.
    """
    patterns = completed(checkpoint.files, lambda pattern: any(fits(path, pattern) for path in below))
    needed = {pattern: [path for path in below if fits(path, pattern)] for pattern in patterns}
    absent = [pattern for pattern, paths in needed.items() if not paths]
    if absent:
        raise CheckpointError(
            f"{checkpoint.repo} does not hold {', '.join(absent)}.", "Update the studio: the repository has changed."
        )
    taken = {path for paths in needed.values() for path in paths}
    folders = {PurePosixPath(path).parent for path in taken}
    taken |= {path for path in below if PurePosixPath(path).parent in folders and _is_extra(path, below[path])}
    return sorted(taken, key=lambda path: (fits(path, checkpoint.files[0]), path))


def fits(path: str, pattern: str) -> bool:
    """Whether a path matches a pattern, folder by folder: a star does not cross into another folder."""
    steps, patterns = path.split("/"), pattern.split("/")
    return len(steps) == len(patterns) and all(map(fnmatchcase, steps, patterns))


def is_extra(name: str, size: int) -> bool:
    """Whether a file is one of the small texts that are taken along with the weights."""
    return size <= EXTRA_BYTES and any(fnmatchcase(name, pattern) for pattern in EXTRAS)


def _is_extra(path: str, sibling: RepoSibling) -> bool:
    size = sibling.size
    return is_extra(PurePosixPath(path).name, size if type(size) is int else 0)


def _facts_of(path: str, sibling: RepoSibling) -> tuple[int, str]:
    """Size and digest: large files are known by their SHA-256, small ones by git's own hash.

    Raises ValueError for a hidden file, which no row asks for, and a checksum that is none.
    """
    if any(part.startswith(".") for part in path.split("/")):
        raise ValueError(f"{path} is hidden")
    if sibling.lfs is not None:
        if not re.fullmatch(r"[0-9a-f]{64}", str(sibling.lfs.sha256)):
            raise ValueError(f"{path} has the checksum {sibling.lfs.sha256!r}")
        return sibling.lfs.size, f"sha256:{sibling.lfs.sha256}"
    if sibling.size is None or sibling.blob_id is None:
        raise CheckpointError(f"The server does not tell size and checksum of {path}.", "Try again later.")
    return sibling.size, f"git:{sibling.blob_id}"


@contextmanager
def opened(file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Where the bytes begin and the bytes themselves: at `start` when the server can, otherwise at 0.

    Raises Interrupted, also while they are read, or StudioError for what no patience helps.
    """
    headers = {"accept-encoding": "identity"}
    if token := get_token():
        headers["authorization"] = f"Bearer {token}"
    if start:
        headers["range"] = f"bytes={start}-"
    with _line_errors(file.path), get_session().stream("GET", file.url, headers=headers, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:
            yield 0, iter(())
            return
        hf_raise_for_status(response)
        yield (start if response.status_code == 206 else 0), response.iter_raw()


@contextmanager
def _line_errors(what: str) -> Iterator[None]:
    """Tell errors of the line in the studio's own words; `what` is what was asked for."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise StudioError("Offline mode is on (HF_HUB_OFFLINE): nothing is downloaded.", OFFLINE_HINT) from error
    except HfHubHTTPError as error:
        raise _answer(error.response, what) from error
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Interrupted(f"The connection broke while {what} was asked for ({reason}).") from error


def _answer(response: httpx2.Response, what: str) -> StudioError:
    status = response.status_code
    if status in PASSING:
        return Interrupted(f"The server is busy ({status}).", _retry_after(response.headers.get("retry-after", "")))
    if status in (401, 403):
        return StudioError(
            f"The server refuses access to {what} ({status}): it is gated, private or does not exist.",
            "Accept its terms on its page at huggingface.co, then log in with `hf auth login` or set HF_TOKEN.",
        )
    if status == 404:
        return StudioError(f"The server has no {what} (404).", "Update the studio: the repository has changed.")
    return StudioError(f"The server answered {status} for {what}.", "Try again later.")


def _retry_after(value: str) -> float | None:
    """Seconds, from a number of seconds or a date; None when the server named neither."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
