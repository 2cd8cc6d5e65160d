"""Files of every kind, whole and broken. Whatever is in them is either read or told."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from kitae.chat import Conversation
from kitae.core.errors import InputError
from kitae.data import GATES, read_conversations
from kitae.data.read.records import BadRecord, each_record
from kitae.workflows.cleaning import CleaningOptions, clean_data

ROWS = [{"prompt": f'Is {n} even?\nSay "yes", or no; 偶数?', "completion": ("yes", "no\n")[n % 2]} for n in range(300)]


def as_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def as_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1, ensure_ascii=False), encoding="utf-8")


def as_object(path: Path) -> None:
    path.write_text(json.dumps({"version": {"of": [1, 2]}, "rows": ROWS, "more": []}), encoding="utf-8")


def as_table(path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=100)


KINDS: dict[str, Callable[[Path], None]] = {
    "rows.jsonl": as_lines,
    "rows.ndjson": as_lines,
    "lines.json": as_lines,
    "list.json": as_list,
    "object.json": as_object,
    "rows.csv": as_table,
    "rows.tsv": as_table,
    "rows.parquet": as_parquet,
}


def said(rows: Sequence[Conversation]) -> list[tuple[str, str]]:
    return [(row.messages[0].content, row.answer) for row in rows]


WANTED = [(row["prompt"], row["completion"]) for row in ROWS]


def packed_by_zstandard(content: bytes) -> bytes:
    """In several frames."""
    cut = len(content) // 3
    return b"".join(zstandard.compress(part) for part in (content[:cut], content[cut:]))


PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": packed_by_zstandard}


def laid_out(folder: Path, kind: str, packing: str) -> Path:
    KINDS[kind](folder / kind)
    content = (folder / kind).read_bytes()
    (folder / kind).unlink()
    path = folder / f"{kind}{packing}"
    path.write_bytes(PACKED[packing](content))
    return path


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(tmp_path: Path, kind: str, packing: str) -> None:
    path = laid_out(tmp_path, kind, packing)
    rows = read_conversations(path)
    assert said(rows) == WANTED
    assert len({row.source for row in rows}) == len(ROWS)
    assert all(row.source.startswith(str(path)) for row in rows)
    assert said(read_conversations(path, limit=7)) == WANTED[:7]


def test_a_list_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    lengths = [10, 200_000, 5, 70_000, 65_500]
    (tmp_path / "long.json").write_text(json.dumps([{"text": "x" * length} for length in lengths]))
    assert [len(row.messages[0].content) for row in read_conversations(tmp_path / "long.json")] == lengths


def test_one_object_is_a_record_or_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    for content, asked in (({"messages": turns}, ["Q"]), ({"of": 2, "rows": [{"messages": turns}] * 2}, ["Q", "Q"])):
        path.write_text(json.dumps(content))
        assert [row.messages[0].content for row in read_conversations(path)] == asked
    for nothing in ("", "  ", "5", "{}", "[]", '{"rows": []}'):
        path.write_text(nothing)
        with pytest.raises(InputError) as caught:
            read_conversations(path)
        assert caught.value.where.startswith(str(path))


def test_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for place in ("b.jsonl", "deep/a.jsonl", ".hidden/c.jsonl", ".d.jsonl"):
        (tmp_path / place).write_text(json.dumps({"text": place}) + "\n")
    (tmp_path / "README.md").write_text("no data")

    def texts(path: Path, limit: int | None = None) -> list[str]:
        return [row.messages[0].content for row in read_conversations(path, limit=limit)]

    assert texts(tmp_path) == ["b.jsonl", "deep/a.jsonl"]
    assert texts(tmp_path, limit=1) == ["b.jsonl"]
    assert texts(tmp_path / "*.jsonl") == ["b.jsonl"]
    assert texts(tmp_path / "**" / "a.*") == ["deep/a.jsonl"]
    for nothing in (tmp_path / "*.csv", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError) as caught:
            texts(nothing)
        assert (caught.value.kind, caught.value.where) == ("no-files", str(nothing))


def test_a_name_with_signs_of_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "rows[1].jsonl"
    as_lines(path)
    assert said(read_conversations(path)) == WANTED


def test_what_is_dropped_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,b\nc\nd,e,f\n"g,h\ni",j\n')
    told: list[InputError] = []
    rows = read_conversations(path, reject=told.append)
    assert said(rows) == [("a", "b"), ("g,h\ni", "j")]
    assert [error.where for error in told] == [f"{path}:3", f"{path}:4"]


def test_rows_after_a_lost_quotation_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,"b.\nc,d\n"e","f\ng"\nh,"i\n')
    told: list[InputError] = []
    rows = read_conversations(path, reject=told.append)
    assert said(rows) == [("c", "d"), ("e", "f\ng")]
    assert [(error.where, error.raw) for error in told] == [(f"{path}:2", 'a,"b.'), (f"{path}:6", 'h,"i')]  # type: ignore[attr-defined]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_file_that_breaks_off_gives_what_it_had(tmp_path: Path, packing: str) -> None:
    path = laid_out(tmp_path, "rows.jsonl", packing)
    noise = random.Random(0)
    content = path.read_bytes()
    lines = "".join(json.dumps({"text": noise.randbytes(40).hex()}) + "\n" for _ in range(20_000)).encode()
    content = PACKED[packing](lines)
    path.write_bytes(content[: len(content) // 2])
    told: list[InputError] = []
    rows = read_conversations(path, reject=told.append)
    assert 1_000 < len(rows) < 20_000
    assert "file-unreadable" in [error.kind for error in told]
    with pytest.raises(InputError):
        read_conversations(path)


def broken(content: bytes, chance: random.Random) -> bytes:
    """In one of the ways in which files break."""
    at = chance.randrange(len(content))
    ways = (
        lambda: content[:at],
        lambda: content[:at] + chance.randbytes(chance.randint(1, 40)) + content[at:],
        lambda: content[:at] + b"\x00" * 8 + content[at + 8 :],
        lambda: content[:at] + b"\xff\xfe\x80" + content[at:],
        lambda: content[:at] + b"[" * 20_000 + content[at:],
        lambda: content[:at] + b'{"a":' * 20_000 + content[at:],
        lambda: content.replace(b'"completion"', chance.choice([b'"completion": 5, "x"', b'"answers"', b"completion"]), 3),
        lambda: content.replace(b'"Is ', chance.choice([b'["Is ', b'"\\ud800', b'null,"', b'"\\u0000']), 2),
        lambda: content[at:] + content[:at],
        lambda: content + b"x" * chance.randint(1, 3_000_000),
    )
    return chance.choice(ways)()


FILES = 42  # of each kind: a thousand in all


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packing", PACKED)
def test_broken_files_lose_nothing_in_silence(tmp_path: Path, kind: str, packing: str) -> None:
    """Rows that are left out are told. No error but Kitae's own comes out."""
    whole = laid_out(tmp_path, kind, packing)
    content = whole.read_bytes()
    chance = random.Random(f"{kind}{packing}")
    counted = KINDS[kind] is as_lines and kind != "lines.json" and not packing
    table = KINDS[kind] is as_table  # in which two lost quotation marks make one field of many rows, and nothing shows it
    for number in range(FILES):
        path = tmp_path / f"{number}-{whole.name}"
        damaged = broken(content, chance)
        path.write_bytes(damaged)
        told: list[InputError] = []
        try:
            rows = read_conversations(path, reject=told.append)
        except InputError as error:
            assert error.why or error.kind == "data-empty"
            rows = []
            told.append(error)
        assert all(str(path) in error.where for error in told)
        assert told or table or len(rows) >= len(ROWS) - 1
        if counted:
            assert len(rows) + len(told) == sum(1 for line in damaged.split(b"\n") if line.strip())
        if number % 7 == 0:
            cleaned_too(path, tmp_path / "out", len(rows), len(told))
        path.unlink()


def cleaned_too(path: Path, out: Path, rows: int, told: int) -> None:
    """Cleaning keeps or rejects as many as were read or told, also what it can't read."""
    try:
        report = clean_data([path], out, CleaningOptions([f"{gate}=keep" for gate in GATES]))
    except InputError:
        assert rows == 0
        return
    kept, rejected = ((out / f"{name}.jsonl").read_bytes().count(b"\n") for name in ("kept", "rejected"))
    assert report["rows"] == kept + rejected == rows + told
    assert (report["kept"], report["rejected"]) == (kept, rejected) == (rows, told)
    shutil.rmtree(out)


ASKED = [{"prompt": f"Q{i}?", "completion": f"A{i}.", "more": [{"a": 1}, {"b": 2}]} for i in range(6)]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"A2."', b'"A2.'),
        (b'"A2."', b'"A\xff2."'),
        (b'"A2."', b'\xef\xbb\xbf"A2."'),
        (b'"A2."', b""),
        (b'"A0."', b'"A\xff0."'),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_broken_record_of_a_list_takes_no_other_with_it(tmp_path: Path, good: bytes, bad: bytes, indent: int | None) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps(ASKED, indent=indent).encode().replace(good, bad))
    found = [record for _, record in each_record(path)]
    errors = [record for record in found if isinstance(record, InputError)]
    assert len(found) == 6 and len(errors) == 1
    assert isinstance(errors[0], BadRecord) and f"Q{good[2] - 48}?" in errors[0].raw and "Q3?" not in errors[0].raw


def test_a_list_that_is_cut_off_gives_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ASKED)[:-30])
    found = each_record(path)
    assert [next(found)[1] for _ in range(5)] == ASKED[:5]
    with pytest.raises(InputError):
        next(found)


def test_a_row_of_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"prompt,completion\nQ1?,A1\nQ2?,A\xff2\nQ3?,A3\n")
    (_, first), (_, error), (_, last) = each_record(path)
    assert (first, last) == ({"prompt": "Q1?", "completion": "A1"}, {"prompt": "Q3?", "completion": "A3"})
    assert isinstance(error, BadRecord) and error.raw == "Q2?,A\\xff2"


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    for name, text in (("rows.csv", "質問,回答\nQ?,A.\n"), ("rows.json", '[{"質問": "Q?"}]')):
        (tmp_path / name).write_bytes(text.encode("cp932"))
        with pytest.raises(InputError) as caught:
            clean_data([tmp_path / name], tmp_path / "out", CleaningOptions())
        assert caught.value.kind in ("text-encoding", "not-utf8")
