"""Files in; kept, rejected and repaired rows out, none lost, the same bytes every time, also after a kill."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from kitae.core.errors import InputError
from kitae.data import Rules, each_entry
from kitae.data.clean import chunks, pipeline
from kitae.workflows.cleaning import CleaningOptions, clean_data, inspect_data

LONG = "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen, number {}, in all green plants."


def rows(count: int = 30) -> list[dict[str, Any]]:
    words = ["oak", "elm", "ash", "fir", "yew", "fig", "bay", "box", "ivy", "hop"]
    return [
        {"instruction": f"What do you know about the {words[i % 10]} and the {words[i // 10 % 10]} of garden {i}?",
         "input": "", "output": LONG.format(i * 7), "_id": i}
        for i in range(count)
    ]  # fmt: skip


DEFECTS: list[dict[str, Any]] = [
    {"instruction": "Who?", "output": "<|im_start|>assistant\nAnn did it.<|im_end|>", "_id": "tag"},
    {"instruction": "What?", "output": "N/A", "_id": "empty"},
    {"instruction": "Where?", "output": "In a cafÃ© by the sea.", "_id": "mojibake"},
    {"instruction": "How do I reach you?", "output": "Write to anna@firma-huber.de, please.", "_id": "mail"},
    {"instruction": "When?", "output": "It was late. " * 8, "_id": "again"},
    {"instruction": "Why?", "output": "Because the reason for all of this is the", "_id": "cut"},
    {"no": "form", "_id": "form"},
]


def written(path: Path, values: list[dict[str, Any]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values) + tail, encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_every_row_has_its_place(tmp_path: Path) -> None:
    good = rows()
    copy = {**good[3], "_id": "copy"}
    source = written(tmp_path / "in.jsonl", [*good, *DEFECTS, copy], '{"broken": \n')
    before = source.read_bytes()
    report = clean_data([source], tmp_path / "out", CleaningOptions())
    assert source.read_bytes() == before
    kept, rejected = read(tmp_path / "out" / "kept.jsonl"), read(tmp_path / "out" / "rejected.jsonl")
    repaired = read(tmp_path / "out" / "repaired.jsonl")
    assert report["rows"] == len(good) + len(DEFECTS) + 2 == len(kept) + len(rejected)
    assert (report["kept"], report["rejected"], report["repaired"]) == (len(kept), len(rejected), len(repaired))
    assert kept[: len(good)] == good
    assert {row["_id"] for row in kept[len(good) :]} == {"mojibake", "mail"}
    why = {row.get("_id", "broken"): [reason["gate"] for reason in row["_reasons"]] for row in rejected}
    assert why == {
        "tag": ["data.tags"], "empty": ["data.empty"], "again": ["data.repetition"], "cut": ["data.truncated"],
        "form": ["data.unreadable"], "copy": ["data.duplicates"], "broken": ["data.unreadable"],
    }  # fmt: skip
    assert all(reason["evidence"] for row in rejected for reason in row["_reasons"])
    assert next(row for row in rejected if "_raw" in row)["_raw"] == '{"broken": \n'
    as_they_came = {row["_id"]: row for row in [*DEFECTS, copy]}
    for row in rejected:
        if "_id" in row:
            assert {key: value for key, value in row.items() if key != "_reasons"} == as_they_came[row["_id"]]
    after = {row["after"]["_id"]: (row["before"]["output"], row["after"]["output"]) for row in repaired}
    assert after["mojibake"] == ("In a cafÃ© by the sea.", "In a café by the sea.")
    assert after["mail"][1] == "Write to [MAIL], please."
    assert report["gates"]["data.encoding"]["repaired"] == 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "ゲート" in page and "http" not in page.replace("http-equiv", "")
    assert not list(tmp_path.glob(".*"))


def test_the_command_of_a_report_repeats_it(tmp_path: Path) -> None:
    source = written(tmp_path / "in put.jsonl", [*rows(), *DEFECTS])
    options = ["--rule", "tags=repair", "--rule", "data.private=drop", "--limit", "36"]
    asked = ["data", "clean", str(source), "--json", "--out", str(tmp_path / "a"), *options]
    done = subprocess.run([sys.executable, "-m", "kitae.cli.main", *asked], capture_output=True, check=True)
    command = json.loads(done.stdout)["command"].replace(str(tmp_path / "a"), str(tmp_path / "b"))
    done = subprocess.run(f"{sys.executable} -m kitae.cli.main {command.partition(' ')[2]}", shell=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for name in ("kept.jsonl", "rejected.jsonl", "repaired.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "Ann did it." in [row["output"] for row in read(tmp_path / "a" / "kept.jsonl")]
    assert "mail" in [row.get("_id") for row in read(tmp_path / "a" / "rejected.jsonl")]


def test_rules_may_let_pass(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(), *DEFECTS])
    gates = ("tags", "empty", "encoding", "private", "repetition", "truncated", "language", "duplicates")
    report = clean_data([source], tmp_path / "out", CleaningOptions([f"{gate}=keep" for gate in gates]))
    assert report["rejected"] == 1  # what is in no form can't be kept
    assert report["gates"]["data.tags"] == {**report["gates"]["data.tags"], "rejected": 0, "noticed": 1}


def test_what_most_rows_do_is_no_defect(tmp_path: Path) -> None:
    wrapped = [{**row, "output": f"<answer>{row['output']}</answer>"} for row in rows()]
    report = clean_data([written(tmp_path / "in.jsonl", wrapped)], tmp_path / "out", CleaningOptions())
    assert report["rejected"] == 0 and report["habits"] == {"<answer>": len(wrapped)}
    few = [*rows(), *wrapped[:5]]
    report = clean_data([written(tmp_path / "few.jsonl", few)], tmp_path / "few", CleaningOptions(["duplicates=keep"]))
    assert report["rejected"] == 5 and report["habits"] == {}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_ROWS", 7)
    monkeypatch.setattr(chunks, "_processes", lambda: 1)


OUTPUTS = ("kept.jsonl", "rejected.jsonl", "repaired.jsonl")


def test_chunks_and_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [*rows(40), *DEFECTS, *rows(40)[5:9]]
    source = written(tmp_path / "in.jsonl", values)
    clean_data([source], tmp_path / "whole", CleaningOptions())
    monkeypatch.setattr(chunks, "_ROWS", 7)
    monkeypatch.setattr(chunks, "_processes", lambda: 1)
    clean_data([source], tmp_path / "alone", CleaningOptions())
    monkeypatch.setattr(chunks, "_processes", lambda: 3)
    clean_data([source], tmp_path / "forked", CleaningOptions())
    for name in OUTPUTS:
        whole = (tmp_path / "whole" / name).read_bytes()
        assert whole == (tmp_path / "alone" / name).read_bytes() == (tmp_path / "forked" / name).read_bytes()


def test_what_was_done_is_not_done_again(tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(40), *DEFECTS])
    clean_data([source], tmp_path / "whole", CleaningOptions())
    looked: list[str] = []
    real = chunks._look

    def dying(entry, rules, form):
        looked.append(entry.where)
        if len(looked) == 24:
            raise KeyboardInterrupt
        return real(entry, rules, form)

    monkeypatch.setattr(chunks, "_look", dying)
    with pytest.raises(Exception, match="Stopped"):
        clean_data([source], tmp_path / "out", CleaningOptions())
    assert not (tmp_path / "out").exists()
    clean_data([source], tmp_path / "out", CleaningOptions())
    assert len(looked) == 24 + (47 - 21)  # three chunks of seven were done
    for name in OUTPUTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_are_read_as_they_are_looked_at(
    tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """A file may be larger than memory: only a few chunks are read before the first is done."""
    source = written(tmp_path / "in.jsonl", rows(200))
    read = ahead = 0
    real_entries, real_load = pipeline.each_entry, chunks._load

    def entries(*arguments):
        nonlocal read
        for entry in real_entries(*arguments):
            read += 1
            yield entry

    def load(folder, number):
        nonlocal ahead
        ahead = max(ahead, read - 7 * number)
        return real_load(folder, number)

    monkeypatch.setattr(chunks, "_processes", lambda: processes)
    monkeypatch.setattr(pipeline, "each_entry", entries)
    monkeypatch.setattr(chunks, "_load", load)
    clean_data([source], tmp_path / "out", CleaningOptions())
    assert read == 200 and ahead <= 7 * (2 + 2 * processes + 1)


def test_other_settings_begin_anew(tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(20), *DEFECTS])
    monkeypatch.setattr(pipeline, "decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Exception, match="Stopped"):
        clean_data([source], tmp_path / "out", CleaningOptions())
    monkeypatch.undo()
    report = clean_data([source], tmp_path / "out", CleaningOptions(["tags=keep", "private=keep"]))
    assert report["gates"]["data.tags"]["noticed"] == 1


CLEAN = [sys.executable, "-m", "kitae.cli.main", "data", "clean", "--json"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, and with those rows cleaned in one go."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "many"  # of all workers that share the tests
    with FileLock(f"{folder}.lock"):
        if not (folder / "whole").exists():
            folder.mkdir()
            source = written(folder / "in.jsonl", [*rows(6_000), *DEFECTS])
            subprocess.run([*CLEAN, str(source), "--out", str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.journey
@pytest.mark.parametrize("after", [0.6, 1.2, 2.0])
def test_killed_at_any_moment(tmp_path: Path, many: Path, after: float) -> None:
    """With a signal that nobody can hear; also the processes that help end."""
    command = [*CLEAN, str(many / "in.jsonl"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while _group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _group_lives(process.pid)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in OUTPUTS:
        assert (tmp_path / "out" / name).read_bytes() == (many / "whole" / name).read_bytes()


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_strict(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", rows(3), "{\n")
    for path in (source, written(tmp_path / "form.jsonl", [*rows(3), {"no": "form"}])):
        with pytest.raises(InputError, match=f"{path}:4"):
            clean_data([path], tmp_path / "out", CleaningOptions(strict=True))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_file_that_breaks_off_gives_what_it_had(tmp_path: Path) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows(2000)).encode())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    written(tmp_path / "in" / "b.jsonl", DEFECTS[2:3])
    report = clean_data([tmp_path / "in"], tmp_path / "out", CleaningOptions(["duplicates=keep"]))
    assert report["gates"]["data.unreadable"]["rejected"] >= 1
    assert report["repaired"] == 1 and report["kept"] > 100
    assert sum(source["rows"] for source in report["sources"]) == report["rows"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_no_rows_at_all(tmp_path: Path, content: str) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(InputError):
        clean_data([tmp_path / "in.jsonl"], tmp_path / "out", CleaningOptions())


def test_one_file_that_is_none_does_not_end_the_others(tmp_path: Path) -> None:
    good = written(tmp_path / "good.jsonl", rows())
    (tmp_path / "no.jsonl.gz").write_text("not packed")
    report = clean_data([good, tmp_path / "no.jsonl.gz"], tmp_path / "out", CleaningOptions())
    assert (report["rows"], report["gates"]["data.unreadable"]["rejected"]) == (31, 1)
    with pytest.raises(InputError) as caught:
        clean_data([tmp_path / "no.jsonl.gz"], tmp_path / "alone", CleaningOptions())
    assert caught.value.kind == "file-unreadable"


@pytest.mark.parametrize(("content", "kind"), [("日本語,a\n".encode("cp932"), "not-utf8"), (b'{"x": 1}\n', "all-unreadable")])
def test_advice_where_nothing_can_be_read(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(InputError) as caught:
        clean_data([tmp_path / "rows.jsonl"], tmp_path / "out", CleaningOptions())
    assert caught.value.kind == kind


@pytest.mark.parametrize("rule", ["tags", "tags=burn", "nothing=drop", "truncated=repair", "=drop", ""])
def test_rules_that_are_none(tmp_path: Path, rule: str) -> None:
    with pytest.raises(InputError):
        clean_data([written(tmp_path / "in.jsonl", rows(2))], tmp_path / "out", CleaningOptions([rule]))


def test_a_gate_has_one_rule(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        clean_data([written(tmp_path / "a.jsonl", rows())], tmp_path / "out", CleaningOptions(["tags=keep", "data.tags=drop"]))
    assert (caught.value.kind, caught.value.where) == ("rule-twice", "data.tags")


def test_an_output_that_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "in.jsonl", rows(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(InputError):
        clean_data([tmp_path / "in.jsonl"], tmp_path / "out", CleaningOptions())
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_leaks_of_evaluations(tmp_path: Path) -> None:
    exam = written(tmp_path / "exam.jsonl", [{"question": rows()[4]["instruction"], "answer": "x"}])
    source = written(tmp_path / "in.jsonl", rows())
    clean_data([source], tmp_path / "out", CleaningOptions(evaluations=[exam]))
    (rejected,) = read(tmp_path / "out" / "rejected.jsonl")
    assert rejected["_id"] == 4 and rejected["_reasons"][0]["gate"] == "data.leak"


def test_only_duplicates(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(), *DEFECTS[:-1], rows()[0]])
    report = clean_data([source], tmp_path / "out", CleaningOptions(only_duplicates=True))
    assert list(report["gates"]) == ["data.duplicates"] and report["rejected"] == 1
    assert report["command"] == "kitae.clean_data(…)"


def test_inspecting_writes_nothing_but_a_page(tmp_path: Path, starter: Path) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(), *DEFECTS])
    report = inspect_data([source], tmp_path / "page", CleaningOptions(), str(starter))
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["report.html"]
    assert report["statistics"]["tokens"]["least"] > 3 and 0 < report["statistics"]["label_share"] < 1
    assert report["statistics"]["turns"]["most"] == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["in.jsonl", "page"]


def test_inspecting_names_languages_that_a_starter_cannot_write_and_converts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitae.models.source.import_gguf", lambda path, name: pytest.fail("converted"))
    japanese = [{"instruction": f"質問 {i} です。", "output": f"川のそばの明かりは {i} 時にともります。"} for i in range(20)]
    report = inspect_data([written(tmp_path / "ja.jsonl", japanese)], None, CleaningOptions(), "smollm2-135m-instruct")
    assert set(report["spelled"]) == {"ja"}
    assert 40 < report["statistics"]["tokens"]["p50"] < 80
    english = inspect_data([written(tmp_path / "en.jsonl", rows())], None, CleaningOptions(), "smollm2-135m-instruct")
    assert english["spelled"] == {}


def test_rows_are_looked_at_without_large_libraries() -> None:
    """They take seconds to import, and their threads would keep rows from being looked at by several processes."""
    code = "import sys, kitae.workflows.cleaning; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_repairs_that_leave_nothing_are_none(tmp_path: Path) -> None:
    """An answer that was only tokens is no answer; a preference must still prefer something."""
    hollow = {"instruction": "Who was it then?", "output": "<|im_start|>assistant\n<|im_end|>"}
    masked = {"prompt": "Where do I write to?", "chosen": "To anna@firma-huber.de.", "rejected": "To otto@firma-huber.de."}
    source = written(tmp_path / "in.jsonl", [*rows(5), hollow, masked])
    report = clean_data([source], tmp_path / "out", CleaningOptions(["tags=repair"]))
    gates = [[reason["gate"] for reason in row["_reasons"]] for row in read(tmp_path / "out" / "rejected.jsonl")]
    assert report["kept"] == 5 and "data.empty" in gates[0] and "data.private" in gates[1]


def test_half_characters_and_deep_rows(tmp_path: Path) -> None:
    deep: Any = "cafÃ©"
    for _ in range(900):
        deep = [deep]
    lines = ['{"\\ud800": 1}', '{"messages": "\\ud800"}', json.dumps({"instruction": "Who?", "output": "cafÃ©", "more": deep})]
    source = written(tmp_path / "in.jsonl", rows(5), "\n".join(lines) + "\n")
    report = clean_data([source], tmp_path / "out", CleaningOptions())
    assert report["rows"] == 8 and report["kept"] >= 5
    assert len(read(tmp_path / "out" / "rejected.jsonl")) == report["rejected"]


def test_the_result_may_not_lie_in_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    written(tmp_path / "in" / "a.jsonl", rows())
    with pytest.raises(InputError, match="folder that is read"):
        clean_data([tmp_path / "in"], tmp_path / "in" / "out", CleaningOptions())


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", rows())
    assert clean_data([source, tmp_path, source], tmp_path.parent / f"{tmp_path.name}-out", CleaningOptions())["rows"] == 30


def test_changed_rows_are_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the file keeps its size and its time."""
    source = written(tmp_path / "in.jsonl", rows())
    monkeypatch.setattr(pipeline, "decide", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Exception, match="Stopped"):
        clean_data([source], tmp_path / "out", CleaningOptions())
    monkeypatch.undo()
    times = source.stat()
    source.write_text(source.read_text().replace("garden 7?", "garden X?"))
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    clean_data([source], tmp_path / "out", CleaningOptions())
    assert "garden X?" in (tmp_path / "out" / "kept.jsonl").read_text()


def test_what_was_said_of_a_row_before_is_kept(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", [*rows(5), {**DEFECTS[1], "_reasons": ["mine"]}])
    clean_data([source], tmp_path / "out", CleaningOptions())
    (row,) = read(tmp_path / "out" / "rejected.jsonl")
    assert row["_reasons_before"] == ["mine"] and row["_reasons"][0]["gate"] == "data.empty"


def test_reports_do_not_spread_private_data(tmp_path: Path) -> None:
    key = "ghp_" + "a1B2c3D4e5" * 4
    source = written(tmp_path / "in.jsonl", [*rows(5), {"instruction": "What is it?", "output": f"It is {key}, I think."}])
    clean_data([source], tmp_path / "out", CleaningOptions(["private=drop"]))
    for name in ("report.json", "report.html"):
        assert key[:12] not in (tmp_path / "out" / name).read_text()


def test_a_chunk_that_nobody_waits_for_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = multiprocessing.Event()
    stopped.set()
    monkeypatch.setattr(chunks, "_stopped", stopped)
    entries = list(each_entry([written(tmp_path / "rows.jsonl", rows())], "auto", None))
    with pytest.raises(chunks._Stopped):
        chunks._work(0, entries, chunks.Looking(tmp_path, Rules(), "auto", None))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_that_cannot_be_read_are_told_apart_by_reason(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    bad = [
        *("not json" for _ in range(3)),
        *(json.dumps({"x": number}) for number in range(2)),
        '{"messages": [{"role": "robot"}]}',
    ]
    source.write_text("\n".join([*(json.dumps(row) for row in rows(20)), *bad]), encoding="utf-8")
    reasons = clean_data([source], tmp_path / "out", CleaningOptions())["gates"]["data.unreadable"]["reasons"]
    assert sorted(reason["rows"] for reason in reasons.values()) == [1, 2, 3]
    assert {reason["where"].rpartition(":")[2] for reason in reasons.values()} == {"21", "24", "26"}
