"""Run folders tell the truth, whatever happened to the process that wrote them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kitae.core.errors import InputError
from kitae.runs import STATES, Run, all_runs, all_states, create_run, find_run, is_run

CREATE = "import os, signal, sys; from kitae.runs import create_run; print(create_run('gone', 'name: gone').id, flush=True); "


def not_found(reference: str, kind: str = "run-missing") -> InputError:
    with pytest.raises(InputError) as caught:
        find_run(reference)
    assert (caught.value.kind, caught.value.where, caught.value.exit_code) == (kind, reference, 2)
    return caught.value


def test_a_new_run(home: Path) -> None:
    run = create_run("demo", "name: demo\n")
    assert run.path.parent == home / "runs"
    assert run.recipe_path.read_text(encoding="utf-8") == "name: demo\n"
    assert run.state == "running"
    assert find_run(run.id) == find_run(str(run.path)) == run
    assert is_run(run.id)
    assert all_runs() == [run]


@pytest.mark.parametrize("state", STATES)
def test_states(state: str) -> None:
    run = create_run("demo", "")
    run.set_state(state)
    assert run.state == state
    assert find_run(run.id).state == state


@pytest.mark.parametrize(
    ("end", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL), ("sys.exit(0)", 0)]
)
def test_a_run_whose_process_is_gone_was_interrupted(end: str, code: int) -> None:
    process = subprocess.run([sys.executable, "-c", CREATE + end], capture_output=True, text=True, check=False)
    assert process.returncode == code, process.stderr
    assert find_run(process.stdout.strip()).state == "interrupted"


def test_a_killed_process_that_nobody_waited_for() -> None:
    command = [sys.executable, "-c", CREATE + "import time; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        run = find_run(process.stdout.readline().strip())
        assert run.state == "running"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        assert run.state == "interrupted"


def test_a_run_that_ended_stays_as_it_was() -> None:
    code = "from kitae.runs import create_run; r = create_run('a', ''); r.set_state('trained'); print(r.id)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert find_run(process.stdout.strip()).state == "trained"


def test_another_process_with_the_same_id_is_not_the_run() -> None:
    run = create_run("demo", "")
    events = run.path / "events.jsonl"
    text = events.read_text(encoding="utf-8")
    started = next(run.events("state"))["process_started"]
    events.write_text(text.replace(str(started), str(started - 1000)), encoding="utf-8")
    assert run.state == "interrupted"


@pytest.mark.parametrize("torn", [b'{"at": "2', '{"message": "あ'.encode()[:-1], b"\x00\x00"])
def test_a_half_written_line_is_passed_over(torn: bytes) -> None:
    run = create_run("demo", "")
    run.record("step", step=1)
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(torn)
    assert [e["event"] for e in run.events()] == ["state", "step"]
    run.record("step", step=2)  # as a resumed run does
    run.set_state("trained")
    assert [e["step"] for e in run.events("step")] == [1, 2]
    assert run.state == "trained"


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\nb", "日本語", "\ud800", "\x00"])
def test_events_keep_any_text(text: str) -> None:
    run = create_run("demo", "")
    run.record("note", text=text)
    assert [e["text"] for e in run.events("note")] == [text]


def test_events_by_kind() -> None:
    run = create_run("demo", "")
    run.record("a", n=1)
    run.record("b", n=2)
    assert [e["n"] for e in run.events("a", "b")] == [1, 2]
    assert [e["n"] for e in run.events("b")] == [2]
    (run.path / "events.jsonl").unlink()
    assert list(run.events()) == []
    assert run.state == "interrupted"


def test_a_unique_beginning_is_enough() -> None:
    run, other = create_run("alpha", ""), create_run("beta", "")
    assert find_run("alp") == run
    assert find_run(other.id[:-1]) == other


def test_an_ambiguous_beginning_names_the_candidates() -> None:
    runs = {create_run("alpha", "").id, create_run("alpha", "").id}
    assert set(not_found("alpha", "run-ambiguous").why.splitlines()) == runs


def test_a_whole_id_is_never_ambiguous(home: Path) -> None:
    run = create_run("alpha", "")
    shutil.copytree(run.path, home / "runs" / f"{run.id}.copy")
    assert find_run(run.id) == run


def test_missing_runs_show_those_there_are() -> None:
    assert not_found("x").why == ""
    run = create_run("alpha", "")
    assert not_found("x").why == run.id


@pytest.mark.parametrize(
    "reference",
    ["../x", "..", ".", "/", "", "a/../../x", "*", "%", "a\0b", "~nobody-here", "~nobody-here/x", "x" * 5000, "\udcff", "-"],
)
def test_references_that_are_no_run(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path.parent / "x").mkdir(exist_ok=True)
    create_run("alpha", "")
    assert not is_run(reference)
    not_found(reference)


def test_folders_are_the_truth(home: Path) -> None:
    gone, kept = create_run("gone", ""), create_run("kept", "")
    shutil.rmtree(gone.path)
    assert all_runs() == [kept]
    not_found("gone")
    shutil.copytree(kept.path, home / "runs" / kept.id.replace("kept", "copied"))
    assert {run.id.split("-")[0] for run in all_runs()} == {"kept", "copied"}


def test_states_of_all_runs_follow_the_folders(home: Path) -> None:
    running, trained = create_run("a", ""), create_run("b", "")
    trained.set_state("trained")
    assert all_states() == {trained: "trained", running: "running"}
    trained.set_state("shipped")
    running.remove()
    assert all_states() == {trained: "shipped"}
    trained.remove()
    assert all_states() == {}


def test_a_run_without_events_is_still_listed() -> None:
    run = create_run("a", "")
    (run.path / "events.jsonl").unlink()
    assert all_states() == all_states() == {run: "interrupted"}


def test_a_state_is_read_from_the_events_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run("a", "")
    run.set_state("trained")
    assert all_states() == {run: "trained"}
    monkeypatch.setattr(Run, "state", property(lambda _: pytest.fail("read again")))
    assert all_states() == {run: "trained"}


@pytest.mark.parametrize("damage", [b"", b"no database at all, but long enough to be looked at" * 20, None])
def test_the_index_is_no_truth(home: Path, damage: bytes | None) -> None:
    run = create_run("a", "")
    run.set_state("trained")
    all_states()
    index = home / "index.sqlite"
    index.unlink()
    if damage is None:
        index.mkdir()
    else:
        index.write_bytes(damage)
    assert all_states() == all_states() == {run: "trained"}


def test_two_commands_do_not_share_a_run() -> None:
    run = create_run("a", "")
    with run.alone(), pytest.raises(InputError, match="Another command"), run.alone():
        pass
    with run.alone():
        pass


def test_newest_first(home: Path) -> None:
    create_run("zeta", "")
    old = home / "runs" / "alpha-20200101-000000-abcdef"
    old.mkdir()
    (old / "recipe.yaml").write_text("")
    assert [run.id.split("-")[0] for run in all_runs()] == ["zeta", "alpha"]


def test_remove() -> None:
    run = create_run("demo", "")
    run.remove()
    assert not run.path.exists()
    assert all_runs() == []
    not_found(run.id)


@pytest.mark.parametrize("place", ["home", "runs"])
def test_a_home_that_is_no_folder(home: Path, place: str) -> None:
    file = home if place == "home" else home / "runs"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    for action in (all_runs, all_states, lambda: create_run("demo", "")):
        with pytest.raises(InputError) as refused:
            action()
        assert refused.value.kind == "not-writable"
        assert str(home / "runs") in refused.value.where


def test_no_home_yet(home: Path) -> None:
    assert all_runs() == []
    assert not home.exists() or not (home / "runs").exists()


def _create(n: int) -> list[str]:
    return [create_run(f"p{n}", "").id for _ in range(5)]


def test_many_processes_at_once() -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = [run for part in pool.map(_create, range(4), chunksize=1) for run in part]
    assert len(set(made)) == 20
    assert {run.id for run in all_runs()} == set(made)
