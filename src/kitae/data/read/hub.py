"""Data sets of the hub as sources: `hub:owner/name`, perhaps `@revision`, perhaps `:pattern` of files.

Only what is read is fetched: a source with a limit ends the fetch with its last row.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from kitae.core import paths
from kitae.core.errors import InputError, KitaeError, first_line
from kitae.core.files import explained

_PREFIX = "hub:"
_NAME = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<files>.+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRAIN = re.compile(r"(?:^|[/_.-])train(?:ing)?(?=[/_.-]|\d|$)")
_NO_ROWS = {"config.json", "train_config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_BLOCK = 1 << 22  # bytes that are fetched at once


@dataclass(frozen=True)
class HubSet:
    repo: str
    revision: str | None
    files: str | None  # a pattern

    @staticmethod
    def named(path: Path) -> HubSet:
        found = _NAME.fullmatch(str(path))
        if found is None:
            raise InputError("hub-name", where=str(path))
        return HubSet(found["repo"], found["revision"], found["files"])


def is_hub(path: Path) -> bool:
    return str(path).startswith(_PREFIX)


def hub_files(path: Path, suffixes: set[str]) -> list[Path]:
    """Each with the revision that is the newest now, so that all that is read belongs together."""
    wanted = HubSet.named(path)
    if wanted.files and _COMMIT.fullmatch(wanted.revision or "") and not glob.has_magic(wanted.files):
        return [path]  # as it is named here
    revision, names = _listing(wanted.repo, wanted.revision)
    if wanted.files is not None:
        found = [wanted.files] if wanted.files in names else [name for name in names if fnmatch.fnmatchcase(name, wanted.files)]
    else:  # other parts are for examinations
        data = [name for name in names if suffixes.intersection(Path(name).suffixes[-2:]) and Path(name).name not in _NO_ROWS]
        found = [name for name in data if _TRAIN.search(name)] or data
    if not found:
        raise InputError("hub-files", where=str(path), why=" ".join(names)[:300])
    return [Path(f"{_PREFIX}{wanted.repo}@{revision}:{name}") for name in sorted(found)]


@lru_cache(maxsize=32)
def _listing(repo: str, revision: str | None) -> tuple[str, tuple[str, ...]]:
    from huggingface_hub import HfApi

    if paths.offline():
        raise InputError("offline", where=f"{_PREFIX}{repo}")
    with _told(repo):
        info = HfApi().dataset_info(repo, revision=revision)
    return str(info.sha), tuple(sibling.rfilename for sibling in info.siblings or [])


@contextlib.contextmanager
def opened_remote(path: Path) -> Iterator[IO[bytes]]:
    """One file of the hub: from this disk if it is here, else block by block."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    one = HubSet.named(path)
    name = one.files or ""
    cached = try_to_load_from_cache(one.repo, name, revision=one.revision, repo_type="dataset")
    if isinstance(cached, str):
        with Path(cached).open("rb") as file:
            yield file
        return
    if paths.offline():
        raise InputError("offline", where=str(path))
    with _told(str(path)):
        url = hf_hub_url(one.repo, name, repo_type="dataset", revision=one.revision)
        size = get_hf_file_metadata(url).size
    if size is None:  # then it can't be known where it ends
        with downloaded(path).open("rb") as file:
            yield file
        return
    with _told(str(path)):
        yield io.BufferedReader(_Remote(url, size), _BLOCK)


def downloaded(path: Path) -> Path:
    """The file on this disk, fetched if it is not there; a fetch that was cut off goes on."""
    from huggingface_hub import hf_hub_download

    one = HubSet.named(path)
    with _told(str(path)), explained(path):
        return Path(hf_hub_download(one.repo, one.files or "", repo_type="dataset", revision=one.revision))


class _Remote(io.RawIOBase):
    def __init__(self, url: str, size: int) -> None:
        self._url, self._at, self._size = url, 0, size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        headers = {**build_hf_headers(), "Range": f"bytes={self._at}-{end - 1}", "Accept-Encoding": "identity"}
        response = http_backoff("GET", self._url, headers=headers)
        hf_raise_for_status(response)
        found = response.content
        if response.status_code != 206 or not found or len(found) > end - self._at:
            raise KitaeError("hub-data", where=self._url, why=f"{response.status_code}: no bytes {self._at} to {end}")
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """What the hub's library says, as sentences."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError("hub-missing", where=where, why=first_line(error)) from error
    except HFValidationError as error:
        raise InputError("hub-name", where=where, why=first_line(error)) from error
    except OfflineModeIsEnabled as error:
        raise InputError("offline", where=where) from error
    except (HfHubHTTPError, ConnectionError) as error:
        raise KitaeError("hub-data", where=where, why=first_line(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise KitaeError("hub-data", where=where, why=first_line(error)) from error
        raise
