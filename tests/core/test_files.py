"""Nothing half-written ever carries its final name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kitae.core.errors import InputError, KitaeError
from kitae.core.files import (
    hash_text,
    read_json,
    remove_leftovers,
    sha256,
    staged_file,
    staged_folder,
    write_json,
    write_jsonl,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with staged_file(path) as stage:
        stage.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, MemoryError])
def test_failure_keeps_the_old_file(tmp_path: Path, raised: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(raised), staged_file(path) as stage:
        stage.write_text("half")
        raise raised
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "x").write_text("old")
    with pytest.raises(ValueError, match="half"), staged_folder(path) as stage:
        (stage / "x").write_text("new")
        raise ValueError("half")
    assert (path / "x").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in ("old", "new"):
        with staged_folder(path) as stage:
            (stage / "sub").mkdir()
            (stage / "sub" / content).write_text(content)
        assert names(path / "sub") == [content]
    assert names(tmp_path) == ["a"]
    assert path.stat().st_mode & 0o777 == 0o755


def _fail_at(monkeypatch: pytest.MonkeyPatch, call: int, code: int) -> None:
    """The nth rename fails."""
    real, calls = os.replace, []

    def replace(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == call:
            raise OSError(code, os.strerror(code))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / "a.txt").write_text("old")
    _fail_at(monkeypatch, 1, code)
    with pytest.raises(KitaeError) as caught:
        write_text(tmp_path / "a.txt", "new")
    assert (caught.value.kind, caught.value.exit_code) == ("disk-full", 1)
    assert caught.value.where == str(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_folder_survives_a_failed_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "x").write_text("old")
    _fail_at(monkeypatch, call, errno.ENOSPC)
    with pytest.raises(KitaeError), staged_folder(path) as stage:
        (stage / "x").write_text("new")
    assert (path / "x").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_forbidden_place_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    _fail_at(monkeypatch, 1, code)
    with pytest.raises(InputError) as caught:
        write_text(tmp_path / "a.txt", "new")
    assert (caught.value.kind, caught.value.exit_code) == ("not-writable", 2)
    assert names(tmp_path) == []


@pytest.mark.parametrize("inside", ["file/a.txt", "file/deep/a.txt", "folder", "x" * 300])
def test_a_place_that_cannot_hold_a_file(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        write_text(tmp_path / inside, "new")
    assert caught.value.kind == "not-writable"
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError) as caught:
            write_text(tmp_path / "a.txt", "new")
    finally:
        tmp_path.chmod(0o755)
    assert caught.value.kind == "not-writable"


def test_leftovers_of_a_killed_process_go(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.x.part").write_text("half")
    (tmp_path / ".b.y.part").mkdir()
    (tmp_path / ".b.y.part" / "c").write_text("half")
    (tmp_path / "kept.part").write_text("whole")
    (tmp_path / ".kept").write_text("whole")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".kept", "kept.part"]
    remove_leftovers(tmp_path / "none")


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"日": [1, None]})
    assert read_json(path) == {"日": [1, None]}
    write_jsonl(path, [{"a": 1}, {"b": "é"}])
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n{"b": "é"}\n'


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "a.json")
    assert caught.value.kind == "file-unreadable"
    with pytest.raises(InputError) as caught:
        read_json(tmp_path / "none.json")
    assert caught.value.kind == "file-missing"


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_text("ab", "c") != hash_text("a", "bc")
    assert hash_text("ab") == hash_text("ab")
