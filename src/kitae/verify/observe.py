"""What an artifact does, seen from outside: loaded from disk in a fresh process, asked, and written down.

Nothing of the process that made the artifact can help it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kitae.chat import Conversation, Encoded, Message
from kitae.core.console import Progress, with_progress
from kitae.core.errors import InputError, KitaeError
from kitae.core.files import JsonDict, read_json, write_json
from kitae.core.i18n import t
from kitae.core.workers import run_fresh
from kitae.generate import Completion, Engine, Settings, complete, open_engine
from kitae.models import Target, decoding_defaults, folder_facts, gguf_defaults, model_settings, read_alone, read_gguf_header

LONG_TAIL = 64  # tokens at the end of the long sequence that are compared


@dataclass(frozen=True)
class Job:
    """What to look at. All lists may be empty; what is not asked is not measured."""

    target: Target
    texts: list[str] = field(default_factory=list)  # → token ids
    chats: list[list[dict[str, str]]] = field(default_factory=list)  # → prompt token ids
    sequences: list[list[int]] = field(default_factory=list)  # → logits of what follows `starts`
    starts: list[int] = field(default_factory=list)
    long: list[int] = field(default_factory=list)  # → logits of its last tokens, by which settings of positions show
    prompts: list[list[dict[str, str]]] = field(default_factory=list)  # → greedy answers
    sampled: int = 0  # how many of the prompts are also answered with sampling
    max_new_tokens: int = 128

    def as_dict(self) -> JsonDict:
        return {**asdict(self), "target": self.target.as_dict()}

    @staticmethod
    def from_dict(value: JsonDict) -> Job:
        return Job(**{**value, "target": Target.from_dict(value["target"])})


class LogitsFile:
    """A file of numpy's, of which slices are read when they are asked for. Together they may be larger than memory, and what is
    mapped counts as held."""

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
        self.shape: tuple[int, int] = mapped.shape
        self._path, self._begins = path, mapped.offset

    def __getitem__(self, part: slice) -> npt.NDArray[np.float32]:
        start, end, _ = part.indices(self.shape[0])
        width = self.shape[1]
        offset = self._begins + 4 * start * width
        return np.fromfile(self._path, "<f4", (end - start) * width, offset=offset).reshape(-1, width)


@dataclass(frozen=True)
class Observation:
    job: Job
    facts: JsonDict
    text_ids: list[list[int]]
    chat_ids: list[list[int]]
    logits: Path | None  # float32, one row for each predicted token, all sequences one after another
    answers: list[Completion]
    sampled: list[Completion]
    tokens_per_second: float
    long_logits: Path | None = None
    answers_of: str = ""  # the form whose answers these are, if this one was proven equal to it

    def row_logits(self) -> LogitsFile:
        assert self.logits is not None
        return LogitsFile(self.logits)

    def as_dict(self) -> JsonDict:
        files = {"logits": self.logits, "long_logits": self.long_logits}
        named = {name: str(path) if path else None for name, path in files.items()}
        return {**asdict(self), "job": self.job.as_dict(), **named}

    @staticmethod
    def from_dict(value: JsonDict) -> Observation:
        return Observation(
            Job.from_dict(value["job"]),
            value["facts"],
            value["text_ids"],
            value["chat_ids"],
            Path(value["logits"]) if value["logits"] else None,
            [Completion(a["text"], tuple(a["tokens"]), a["finish"]) for a in value["answers"]],
            [Completion(a["text"], tuple(a["tokens"]), a["finish"]) for a in value["sampled"]],
            value["tokens_per_second"],
            Path(value["long_logits"]) if value.get("long_logits") else None,
            value.get("answers_of", ""),
        )


def job_sequences(rows: Sequence[Encoded]) -> tuple[list[list[int]], list[int]]:
    """Sequences and the position from which each is labelled. Rows with several answers are compared from the first."""
    chosen = [row for row in rows if row.spans]
    return [row.ids for row in chosen], [max(row.spans[0].start - 1, 0) for row in chosen]


def observe(job: Job, folder: Path) -> Observation:
    """Runs the job in a fresh process; logits are left in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".job.") as scratch:
        job_file, result_file = Path(scratch) / "job.json", Path(scratch) / "result.json"
        write_json(job_file, job.as_dict())
        places = [str(path.absolute()) for path in (job_file, result_file, folder)]
        code, printed = run_fresh(_main, *places, imports=_imports(job), label=t("say.asking"))
        if not result_file.exists():
            tail = "\n".join(printed.strip().splitlines()[-6:])
            raise KitaeError("observation", where=str(job.target.path), why=tail or f"exit {code}")
        result = read_json(result_file)
    if "error" in result:
        error = result["error"]
        raised = (InputError if result["input"] else KitaeError)(
            error["kind"], where=error["where"], why=error["why"], **result["fields"]
        )
        raise raised
    return Observation.from_dict(result)


def _imports(job: Job) -> list[str]:
    """Of what a folder needs, and a GGUF file does not."""
    if job.target.kind == "gguf":
        return []
    return ["kitae.verify.opening", *(["peft"] if job.target.base else [])]


def _look(job: Job, folder: Path) -> Observation:
    engine = open_engine(job.target)
    codec = engine.codec
    try:
        prompts = [codec.prompt(_messages(chat)) for chat in job.prompts]
        settings = Settings(max_tokens=job.max_new_tokens)
        began = time.monotonic()
        answers = _answers(engine, prompts, settings, t("say.asking"))
        seconds = time.monotonic() - began
        sampling = Settings(max_tokens=job.max_new_tokens, temperature=0.8, top_p=0.95, seed=0)
        sampled = _answers(engine, prompts[: job.sampled], sampling, t("say.sampling"))
        return Observation(
            job=job,
            facts=_facts(engine, job),
            text_ids=[codec.vocabulary.encode(text, parse_control=False) for text in job.texts],
            chat_ids=[codec.prompt(_messages(chat)) for chat in job.chats],
            logits=_logits(engine, job.sequences, job.starts, folder) if job.sequences else None,
            long_logits=_logits(engine, [job.long], [len(job.long) - LONG_TAIL - 1], folder) if job.long else None,
            answers=answers,
            sampled=sampled,
            tokens_per_second=sum(len(a.tokens) for a in answers) / seconds if answers else 0.0,
        )
    finally:
        engine.close()


def _answers(engine: Engine, prompts: Sequence[list[int]], settings: Settings, label: str) -> list[Completion]:
    progress = Progress(label, len(prompts), patient=True)
    return complete(engine, prompts, settings, lambda ended, share: progress.update(ended, share=share)) if prompts else []


def _logits(engine: Engine, sequences: Sequence[list[int]], starts: Sequence[int], folder: Path) -> Path:
    """Row by row into the file: together they are several times the size of a small model."""
    count = sum(len(ids) - start - 1 for ids, start in zip(sequences, starts, strict=True))
    with tempfile.NamedTemporaryFile(dir=folder, prefix="logits-", suffix=".npy", delete=False) as file:
        rows = with_progress(t("say.reading-rows"), [*zip(sequences, starts, strict=True)])
        for number, (ids, start) in enumerate(rows):
            row = engine.logits(ids, start).astype("<f4", copy=False)
            if number == 0:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, row.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(row.tobytes())
    return Path(file.name)


def _facts(engine: Engine, job: Job) -> JsonDict:
    """What the artifact itself says of its template, its stops, and how it wants to be run."""
    from kitae.generate import LlamaEngine

    codec, chats = engine.codec, [_messages(chat) for chat in job.chats]
    facts: JsonDict = {
        "engine": engine.name,
        "template": codec.template.source,
        "rendered": [codec.rendered(chat) for chat in chats],
        "terminator": codec.terminator,
        "stop_tokens": sorted(engine.stop_tokens),
        "vocabulary": codec.vocabulary.size,
        "control": list(codec.vocabulary.control),
    }
    if isinstance(engine, LlamaEngine):
        model = engine.model.facts
        named = ("stops", "bos", "adds_bos", "pre_tokenizer", "parameters", "context")
        return facts | {key: model[key] for key in named} | {"defaults": gguf_defaults(read_gguf_header(job.target.path))}
    folder = job.target.folder
    told = folder_facts(folder, codec)
    plain = [i for i, chat in enumerate(chats) if not codec.names_control(chat)]
    alone = read_alone(folder, [facts["rendered"][i] for i in plain])
    return facts | {
        "stops": told.stops,
        "context": told.context,
        "settings": model_settings(folder),
        "defaults": decoding_defaults(folder),
        "alone": alone and {**alone, "ids": dict(zip(map(str, plain), alone["ids"], strict=True))},
    }


def _messages(chat: Sequence[dict[str, str]]) -> list[Message]:
    return list(Conversation.of(chat).messages)


def _main(job_file: str, result_file: str, folder: str) -> None:
    try:
        job = Job.from_dict(read_json(Path(job_file)))
        write_json(Path(result_file), _look(job, Path(folder)).as_dict())
    except KitaeError as error:
        fields = {key: str(value) for key, value in error.fields.items()}
        is_input = isinstance(error, InputError)
        write_json(Path(result_file), {"error": error.as_dict(), "fields": fields, "input": is_input})
