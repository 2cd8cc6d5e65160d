"""`kitae data pull`: a data set of the catalogue or of the hub as a file, beside what is known of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import cast

from kitae.core import interruption
from kitae.core.console import Progress, console
from kitae.core.errors import InputError
from kitae.core.files import JsonDict, refuse_taken, sha256, staged_folder, write_json
from kitae.core.i18n import t
from kitae.core.libraries import quiet_libraries
from kitae.core.row_options import Format
from kitae.data import HubSet, as_line, catalogue, downloaded, each_entry, files_of, is_hub, readable_as
from kitae.workflows.results import PullReport

ROWS, REJECTED, CARD = "rows.jsonl", "rejected.jsonl", "source.json"


def pull(name: str, out: Path | None = None, limit: int | None = None) -> PullReport:
    """All of it through the hub's own cache, where a fetch that was cut off goes on; with a limit, only what is needed."""
    entry = catalogue().get(name)
    if entry is None and not is_hub(Path(name)):
        raise InputError("catalogue", where=name, why=", ".join(catalogue()))
    source, form = (entry.source, entry.format) if entry else (Path(name), "auto")
    folder = out if out is not None else Path(name if entry else HubSet.named(source).repo.rpartition("/")[2])
    refuse_taken(folder)
    quiet_libraries()
    with interruption.heard():
        files = files_of(source)
        if limit is None:
            for number, file in enumerate(files, 1):
                console.say(t("pull.fetching", number=number, count=len(files), file=file))
                downloaded(file)
        card: JsonDict = {
            "name": name,
            "files": list(map(str, files)),
            "format": form,
            "licence": entry.licence if entry else "unknown",
            "claims": [{"licence": licence, "source": said} for licence, said in entry.licences] if entry else [],
            "rows_known": entry.rows if entry else None,
            "limit": limit,
        }
        with staged_folder(folder) as stage:
            counts = _write(stage, files, form, limit, entry.rows if entry and limit is None else limit)
            card |= {**counts, "sha256": sha256(stage / ROWS)}
            write_json(stage / CARD, card)
    return cast("PullReport", {**card, "folder": str(folder)})


def _write(stage: Path, files: list[Path], form: Format, limit: int | None, expected: int | None) -> dict[str, int]:
    counts: Counter[str] = Counter()
    with (
        (stage / ROWS).open("wb") as rows,
        (stage / REJECTED).open("wb") as rejected,
        contextlib.closing(Progress(t("pull.writing"), expected)) as progress,
    ):
        for entry in islice(each_entry(files, form, None), limit):
            why = readable_as(entry, form)
            counts["rejected" if why else "rows"] += 1
            record = {"_raw": entry.raw} if entry.record is None else entry.record
            if why:
                rejected.write(as_line({**record, "_reasons": [{"gate": "data.unreadable", "evidence": why}]}))
            else:
                rows.write(as_line(record))
            progress.update(counts.total())
    if not counts["rows"]:
        raise InputError("all-unreadable" if counts["rejected"] else "data-empty", where=str(files[0]))
    return {"rows": counts["rows"], "rejected": counts["rejected"]}
