"""Training that is stopped, starved or fed nonsense: what comes out is what would have come out, or a clear word."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kitae.core.errors import InputError, KitaeError
from kitae.recipe import load_recipe
from kitae.runs import Run, create_run
from kitae.train.checkpoints import checkpoints
from kitae.train.phases import fit
from kitae.train.prepared import prepare
from kitae.train.trainer import KitaeTrainer
from kitae.workflows.rows import gather_rows

pytestmark = pytest.mark.slow(5)

POINTS = int(os.environ.get("KITAE_KILLS", "2"))  # at which each method is killed
RECIPE = """\
name: small
model: {{source: {model}, max_length: 128}}
data: {{train: [{{path: rows.jsonl}}], validation: [{{path: held-out.jsonl}}]}}
train: {{epochs: 2, learning_rate: 1.0e-2, batch_tokens: 120, evaluations: 6, precision: fp32}}
"""
METHODS: dict[str, tuple[str, ...]] = {
    "lora": ("train.lora={r: 4, alpha: 8, dropout: 0.1}",),
    "rslora, restarts": ("train.lora={r: 4, alpha: 8, rslora: true}", "train.schedule=restarts"),
    "dora, plateau": ("train.method=dora", "train.schedule=plateau"),
    "qlora": ("train.method=qlora",),
    "full, layers dropped": ("train.method=full", "train.layer_dropout=0.4", "train.learning_rate=0.001"),
    "soft prompt": ("train.method=soft-prompt",),
    "prefix": ("train.method=soft-prompt", "train.soft_prompt={kind: prefix, tokens: 4}"),
    "dpo": ("train.method=dpo", "train.dpo={beta: 0.5}"),
    "distill": ("train.method=distill", "train.distill={{teacher: {model}, share: 0.5}}"),
    "stopped early": ("train.early_stopping={patience: 1, min_delta: 0.5}",),
    "by whole answers": ("train.early_stopping={by: exact_match, patience: 9}",),
}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Path]) -> Path:
    return tiny_llama(num_hidden_layers=3)


Begin = Callable[..., Run]


@pytest.fixture
def begin(model: Path, tmp_path: Path) -> Begin:
    return beginning(model, tmp_path)


@pytest.fixture
def begin_small(tiny_llama: Callable[..., Path], tmp_path: Path) -> Begin:
    """With fewer tokens, which take most of a small model's time."""
    return beginning(tiny_llama(num_hidden_layers=3, tokens=8192), tmp_path)


def beginning(model: Path, tmp_path: Path) -> Begin:
    """A new run of a recipe, whose rows are also preferences."""
    for name, numbers in (("rows", range(24)), ("held-out", range(24, 34))):
        rows = [{"prompt": f"Say {i}", "chosen": f"{i} " * (1 + i % 5), "rejected": f"Not {i}."} for i in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=model))

    def new(*settings: str) -> Run:
        recipe = load_recipe(
            tmp_path / "recipe.yaml", [setting.format(model=model) if "{{" in setting else setting for setting in settings]
        )
        run = create_run(recipe.name, "")
        shutil.copy(tmp_path / "recipe.yaml", run.recipe_path)
        gather_rows(recipe).save(run.data)
        run.record("settings", recipe=recipe.model_dump(mode="json"))
        return run

    return new


def train(run: Run, resume: bool = False) -> None:
    from kitae.data import Rows
    from kitae.recipe import Recipe

    recipe = Recipe.model_validate(next(run.events("settings"))["recipe"])
    fit(prepare(recipe, run, Rows.load(run.data)), resume)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(next(run.output.glob("*.safetensors")))


def killing(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The process is gone in the middle of a step."""
    original = KitaeTrainer._add_gradient

    def killed(self: KitaeTrainer, *arguments: Any) -> Any:
        if self.state.global_step + 1 == step:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(KitaeTrainer, "_add_gradient", killed)


def alike(one: Run, other: Run) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.slow(10)
@pytest.mark.timeout(300 * POINTS)
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_as_if_it_had_not_been(method: str, begin_small: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = METHODS[method]
    whole = begin_small(*settings)
    train(whole)
    taken = [event["step"] for event in whole.events("step")]
    assert len(taken) > 3
    rng = random.Random(method)
    for step in rng.sample(taken[1:], min(POINTS, len(taken) - 1)):
        run = begin_small(*settings)
        with monkeypatch.context() as patch:
            killing(patch, step)
            with pytest.raises(Killed):
                train(run)
        train(run, resume=True)
        alike(run, whole)
        fitted = [next(r.events("fitted"))["best_step"] for r in (run, whole)]
        assert fitted[0] == fitted[1]
        ends = [[event["why"] for event in r.events("stopped-early")] for r in (run, whole)]
        assert ends[0] == ends[1]
        assert ends[1] or method != "stopped early"
        last = {event["step"]: event["loss"] for event in run.events("step")}
        assert last == pytest.approx({event["step"]: event["loss"] for event in whole.events("step")}, rel=1e-5)


def test_a_damaged_checkpoint_is_passed_over(begin: Begin, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    whole = begin()
    train(whole)
    names = ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "scheduler.pt", "rng_state.pth")
    killed = begin()
    with monkeypatch.context() as patch:
        killing(patch, 9)
        with pytest.raises(Killed):
            train(killed)
    for number, name in enumerate(names):
        run = Run(killed.path.with_name(f"copy-{number}"))
        shutil.copytree(killed.path, run.path)
        every = checkpoints(run.checkpoints)
        assert len(every) >= 2
        file = every[-1][1] / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        train(run, resume=True)
        assert every[-1][1].name in capsys.readouterr().err
        alike(run, whole)


def test_a_lost_best_checkpoint_is_no_end(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is left leads to its weights, so the run begins again."""
    settings = ("train.learning_rate=0.9", "train.early_stopping=null", "train.warmup=0", "train.schedule=constant")
    whole = begin(*settings)
    train(whole)
    best = next(whole.events("fitted"))["best_step"]
    run = begin(*settings)
    with monkeypatch.context() as patch:
        killing(patch, 20)
        with pytest.raises(Killed):
            train(run)
    every = dict(checkpoints(run.checkpoints))
    assert best in every
    assert best < max(every)
    weights_file = every[best] / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:100])
    train(run, resume=True)
    alike(run, whole)


def test_shares_of_one_process_are_told_of(begin: Begin, capsys: Any) -> None:
    for share in (False, True):
        train(begin(f"train.shard={share}", "train.epochs=1"))
        assert ("train.shard" in capsys.readouterr().err) is share


def test_so_many_checkpoints_are_kept(begin: Begin) -> None:
    for keep in (1, 3):
        run = begin(f"train.keep_checkpoints={keep}", "train.learning_rate=1e-9", "train.early_stopping=null")
        train(run)
        steps = [step for step, _ in checkpoints(run.checkpoints)]
        best = next(run.events("fitted"))["best_step"]
        last = [step for step in steps if step != best or step in steps[-keep:]]
        assert len(last) == keep
        assert best in steps


@pytest.fixture
def starving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """There is no memory for more than so many tokens at once."""
    original = KitaeTrainer._add_gradient
    scored = KitaeTrainer.held_out

    def limit(
        tokens: int, error: type[Exception] = torch.OutOfMemoryError, said: str = "CUDA out of memory", scoring: bool = True
    ) -> None:
        def check(batch: Any, padded: bool) -> None:
            if batch.size(padded) > tokens:
                raise error(said)

        def starved(self: KitaeTrainer, batch: Any, *arguments: Any) -> Any:
            found = original(self, batch, *arguments)  # gradients are there when memory runs out
            check(batch, self._loss.padded)
            return found

        def held_out(self: KitaeTrainer) -> Any:
            for batch in scored(self):
                check(batch, self._loss.padded)
                yield batch

        monkeypatch.setattr(KitaeTrainer, "_add_gradient", starved)
        if scoring:
            monkeypatch.setattr(KitaeTrainer, "held_out", held_out)

    return limit


@pytest.mark.parametrize("method", ["lora", "full, layers dropped", "dpo", "distill", "soft prompt", "by whole answers"])
def test_too_little_memory_changes_nothing(method: str, begin: Begin, starving: Any) -> None:
    """But the size of micro-batches. Dropout would draw for other tokens, so there is none."""
    settings = [setting.replace(", dropout: 0.1", "") for setting in METHODS[method] if "layer_dropout" not in setting]
    settings += ["train.batch_tokens=400"]
    whole = begin(*settings)
    train(whole)
    starving(130, scoring=False)  # which comes first, and would leave nothing to a step
    run = begin(*settings)
    train(run)
    halved = [event["micro_batch_tokens"] for event in run.events("halved")]
    assert halved
    assert halved[-1] <= 130
    ours, theirs = ([event["loss"] for event in r.events("step")] for r in (run, whole))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_scoring_takes_less_at_once_too(begin: Begin, starving: Any) -> None:
    whole, run = begin(), begin()
    train(whole)
    starving(60)
    train(run)
    assert next(run.events("halved"))["step"] == 1
    ours, theirs = ([event["loss"] for event in r.events("validation")] for r in (run, whole))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_is_done_again_draws_the_same_numbers(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    original, states = KitaeTrainer._add_gradient, []

    def once(self: KitaeTrainer, *arguments: Any) -> Any:
        states.append(torch.get_rng_state())
        found = original(self, *arguments)  # draws for dropout
        if len(states) == 1:
            raise torch.OutOfMemoryError
        return found

    monkeypatch.setattr(KitaeTrainer, "_add_gradient", once)
    train(begin(*METHODS["lora"], "train.batch_tokens=400"))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def test_a_cpu_says_it_in_other_words(begin: Begin, starving: Any) -> None:
    starving(60, RuntimeError, "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
    run = begin()
    train(run)
    assert list(run.events("halved"))


def test_other_errors_are_not_taken_for_it(begin: Begin, starving: Any) -> None:
    starving(60, RuntimeError, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        train(begin())


def test_a_row_that_cannot_fit_is_named(begin: Begin, starving: Any) -> None:
    starving(20)
    with pytest.raises(KitaeError) as caught:
        train(begin())
    assert caught.value.kind == "out-of-memory"
    assert ".jsonl:" in str(caught.value.where)


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "loss-not-finite"), (float("inf"), "loss-not-finite"), (1e4, "loss-exploded")]
)
@pytest.mark.parametrize("method", ["lora", "dpo"])
def test_the_rows_of_a_hopeless_loss_are_named(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, value: float, kind: str, method: str
) -> None:
    from kitae.train.loss import LabelledLoss
    from kitae.train.preferences import PreferenceLoss

    where = PreferenceLoss if method == "dpo" else LabelledLoss
    original = where.__call__

    def spoilt(self: Any, batch: Any) -> torch.Tensor:
        losses: torch.Tensor = original(self, batch)
        bad = torch.tensor([source.endswith("rows.jsonl:5") for source in batch.sources])
        return losses * torch.where(bad & losses.requires_grad, value, 1.0)

    monkeypatch.setattr(where, "__call__", spoilt)
    run = begin(*METHODS[method])
    with pytest.raises(KitaeError) as caught:
        train(run)
    assert caught.value.kind == kind
    named = [line.rpartition(": ")[0] for line in str(caught.value.why).splitlines()]
    assert len(named) == 1
    assert named[0].endswith("rows.jsonl:5")


def test_the_dearest_row_is_named_first(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    from kitae.train.loss import LabelledLoss

    original, dear = LabelledLoss.__call__, {"2": 1e4, "7": 3e4, "11": 2e4}

    def spoilt(self: Any, batch: Any) -> torch.Tensor:
        losses: torch.Tensor = original(self, batch)
        return losses * torch.tensor([dear.get(source.rpartition(":")[2], 1.0) for source in batch.sources])

    monkeypatch.setattr(LabelledLoss, "__call__", spoilt)
    with pytest.raises(KitaeError) as caught:
        train(begin("train.batch_tokens=4000", "train.evaluations=1"))
    named = [line.rpartition(": ")[0] for line in str(caught.value.why).splitlines()]
    assert [source.rpartition(":")[2] for source in named] == ["7", "11", "2"]


def test_a_gradient_that_is_no_number_moves_nothing(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    from kitae.train.loss import LabelledLoss

    original = LabelledLoss.__call__

    def spoilt(self: Any, batch: Any) -> torch.Tensor:
        losses: torch.Tensor = original(self, batch)
        if losses.requires_grad and any(source.endswith("rows.jsonl:5") for source in batch.sources):
            losses.register_hook(lambda slope: slope * float("nan"))
        return losses

    monkeypatch.setattr(LabelledLoss, "__call__", spoilt)
    with pytest.raises(KitaeError) as caught:
        train(begin())
    assert caught.value.kind == "gradient-not-finite"
    assert "rows.jsonl:5" in str(caught.value.why)


def test_what_each_row_cost_is_written_down(begin: Begin) -> None:
    for method in ("lora", "dpo"):
        run = begin(*METHODS[method], "train.early_stopping=null")
        train(run)
        lines = [json.loads(line) for line in (run.path / "row-losses.jsonl").read_text().splitlines()]
        losses = {event["step"]: event["loss"] for event in run.events("step")}
        assert [line["step"] for line in lines] == list(losses)
        for line in lines:
            mean = sum(loss * count for _, loss, count in line["rows"]) / sum(count for _, _, count in line["rows"])
            assert mean == pytest.approx(losses[line["step"]], abs=2e-3)
        sources = [source for line in lines for source, _, _ in line["rows"]]
        assert sorted(sources) == sorted(2 * [f"{run.path.parents[2]}/rows.jsonl:{i}" for i in range(1, 25)])


def test_what_trackers_are_told_is_told_to_no_one_else(begin: Begin) -> None:
    before = dict(os.environ)
    train(begin("train.epochs=1"))
    assert dict(os.environ) == before


def test_it_stops_at_a_perplexity(begin: Begin) -> None:
    learning = ("train.method=full", "train.learning_rate=0.002")
    free = begin("train.early_stopping=null", *learning)
    train(free)
    losses = [event["loss"] for event in free.events("validation") if event["step"]]
    wanted = torch.tensor(losses[1]).exp().item() * 1.0001
    assert losses[0] > losses[1] > losses[-1]
    run = begin(f"train.early_stopping={{patience: 9, perplexity: {wanted}}}", *learning)
    train(run)
    assert [event["loss"] for event in run.events("validation") if event["step"]] == pytest.approx(losses[:2])


def test_layers_are_dropped_in_training_alone(model: Path) -> None:
    from kitae.models import open_model
    from kitae.train.layer_dropout import drop_layers

    network, plain = open_model(model, torch.float32), open_model(model, torch.float32)
    drop_layers(network, 0.5)
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(network.eval()(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)
    torch.manual_seed(0)
    found = {round(float(network.train()(input_ids=ids).logits.sum().detach()), 3) for _ in range(200)}
    assert len(found) == 2**2  # the last is always there


def test_a_model_whose_layers_cannot_be_dropped_is_told() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, GPTJConfig, GPTJForCausalLM

    from kitae.train.layer_dropout import drop_layers

    two_stacks = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=50))
    two_stacks.extra = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)])
    pairs = GPTJForCausalLM(GPTJConfig(n_embd=8, n_layer=2, n_head=2, vocab_size=50, rotary_dim=4))
    for network in (two_stacks, pairs):
        with pytest.raises(InputError) as caught:
            drop_layers(network, 0.5)
        assert caught.value.kind == "layer-dropout"


def test_an_adapter_learns_with_most_layers_dropped(begin: Begin) -> None:
    run = begin("train.layer_dropout=0.9", "train.epochs=1")
    train(run)
    assert len({event["loss"] for event in run.events("step")}) > 3


def test_whole_answers_choose_the_weights_and_among_equals_the_loss(begin: Begin) -> None:
    run = begin("train.early_stopping={by: exact_match, patience: 99}", "train.schedule=plateau", "train.learning_rate=0.002")
    train(run)
    losses = {event["step"]: event["loss"] for event in run.events("validation")}
    assert {event["exact"] for event in run.events("validation")} == {0.0}
    fitted = next(run.events("fitted"))
    best = min((step for step in losses if step), key=lambda step: losses[step])
    assert (fitted["best_step"], fitted["best_validation_loss"]) == (best, losses[best])


@pytest.mark.parametrize("schedule", ["cosine", "restarts", "linear", "constant", "plateau"])
def test_every_step_teaches(begin: Begin, schedule: str) -> None:
    """Also the first, which a rate that begins at nothing would waste."""
    run = begin(f"train.schedule={schedule}", "train.epochs=1", "train.batch_tokens=100000")
    train(run)
    assert len(list(run.events("step"))) == 1
    before, after = (event["loss"] for event in run.events("validation"))
    assert after < before - 1e-3
    if schedule == "plateau":  # which has no warm-up
        return
    run = begin(f"train.schedule={schedule}", "train.epochs=2", "train.warmup=0.4")
    train(run)
    rates = [event["learning_rate"] for event in run.events("step")]
    warming = math.ceil(0.4 * len(rates))
    assert rates[:warming] == pytest.approx([1e-2 * (n + 1) / (warming + 1) for n in range(warming)])
    assert rates[warming] == pytest.approx(1e-2)
    assert min(rates) > 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [("{patience: 1, min_delta: 0.5}", "patience"), ("{perplexity: 1.0e+9}", "perplexity"), ("{patience: 5}", None)],
)
def test_why_a_run_ended_is_told(begin: Begin, capsys: pytest.CaptureFixture[str], settings: str, why: str | None) -> None:
    run = begin(f"train.early_stopping={settings}", "train.epochs=1")
    train(run)
    assert [event["why"] for event in run.events("stopped-early")] == ([why] if why else [])
    assert ("stopped early" in capsys.readouterr().err) == bool(why)
