"""Contexts on disk speed up what is repeated, and can't spoil anything."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from kitae.core.files import read_json
from kitae.models.newllm.config import NewLLMConfig
from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.remembered import RememberedContexts


def model(**settings: object) -> NewLLMForCausalLM:
    torch.manual_seed(0)
    return NewLLMForCausalLM(NewLLMConfig(**({"vocab_size": 97, "hidden_size": 32} | settings))).eval()


IDS = torch.randint(1, 97, (4, 40), generator=torch.Generator().manual_seed(0))


def ask(network: NewLLMForCausalLM, ids: torch.Tensor = IDS) -> tuple[torch.Tensor, int]:
    """(logits, the most passes that a block took)"""
    with torch.no_grad(), network.model.solving(network.model.current_plan) as solutions:
        return network(ids).logits, max(solution.passes for solution in solutions)


def remembering(network: NewLLMForCausalLM, folder: Path, owner: str = "a", limit_mb: int = 100) -> RememberedContexts:
    network.model.remembered = RememberedContexts(folder, owner, "[2, 2]", limit_mb)
    return network.model.remembered


def test_what_is_remembered_needs_fewer_passes_and_says_the_same(tmp_path: Path) -> None:
    network = model()
    plain, passes = ask(network)
    remembered = remembering(network, tmp_path)
    first, first_passes = ask(network)
    assert torch.equal(first, plain)
    assert (first_passes, remembered.hits, remembered.misses) == (passes, 0, 4)
    again, fewer = ask(network)
    assert passes > 2
    assert fewer == 1  # the one that shows that nothing changes
    assert remembered.hits == 4
    torch.testing.assert_close(again, plain, atol=1e-4, rtol=0)
    padded = torch.cat([IDS, torch.zeros(4, 7, dtype=torch.long)], dim=1)  # a row is known whatever it is padded to
    torch.testing.assert_close(ask(network, padded)[0][:, :40], plain, atol=1e-4, rtol=0)
    assert remembered.hits == 8


def test_it_outlives_the_process_and_the_index_says_what_is_what(tmp_path: Path) -> None:
    network = model()
    remembering(network, tmp_path).keep(IDS, [torch.zeros(4, 40, 32)] * 2)
    network.model.remembered.write_index()
    index = read_json(tmp_path / "index.json")
    assert len(index) == 4
    assert all(entry["architecture"] == "[2, 2]" and (tmp_path / entry["file"]).exists() for entry in index.values())
    assert remembering(network, tmp_path).guesses(IDS, [32, 32]) is not None


def test_contexts_of_other_weights_or_another_shape_are_not_taken(tmp_path: Path) -> None:
    remembering(model(), tmp_path).keep(IDS, [torch.ones(4, 40, 32)] * 2)
    assert remembering(model(), tmp_path, owner="b").guesses(IDS, [32, 32]) is None
    assert remembering(model(), tmp_path).guesses(IDS, [64, 64]) is None
    assert remembering(model(), tmp_path).guesses(IDS + 1, [32, 32]) is None


@pytest.mark.parametrize("damage", ["cut", "emptied", "noise", "removed", "not finite"])
def test_damaged_files_are_forgotten(tmp_path: Path, damage: str) -> None:
    network = model()
    plain, passes = ask(network)
    remembering(network, tmp_path)
    ask(network)
    for file in tmp_path.glob("*.safetensors"):
        content = file.read_bytes()
        if damage == "removed":
            file.unlink()
        elif damage == "not finite":
            file.write_bytes(content[:-64] + b"\xff" * 64)
        else:
            file.write_bytes({"cut": content[:-100], "emptied": b"", "noise": b"x" * len(content)}[damage])
    remembered = network.model.remembered
    assert remembered is not None
    logits, taken = ask(network)
    assert torch.equal(logits, plain)
    assert (taken, remembered.hits) == (passes, 0)
    ask(network)
    assert remembered.hits == 4  # and made anew


@pytest.mark.parametrize("damage", ["", "[1, 2]", '{"x": {"bytes": "many"}}', "\x00\xff"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    network = model()
    remembering(network, tmp_path)
    ask(network)
    (tmp_path / "index.json").write_text(damage)
    remembered = remembering(network, tmp_path)
    ask(network)
    assert remembered.hits == 4


def test_a_wrong_context_is_refined_and_never_believed(tmp_path: Path) -> None:
    network = model()
    plain, _ = ask(network)
    remembering(network, tmp_path).keep(IDS, [torch.full((4, 40, 32), 3.0)] * 2)
    torch.testing.assert_close(ask(network)[0], plain, atol=1e-4, rtol=0)


def test_what_was_used_longest_ago_is_forgotten_first(tmp_path: Path) -> None:
    network = model(hidden_size=512, context_size=512)
    remembered = remembering(network, tmp_path, limit_mb=1)
    many = torch.randint(1, 97, (20, 40), generator=torch.Generator().manual_seed(1))
    remembered.keep(many, [torch.zeros(20, 40, 512)] * 2)  # 20 times 164 kB
    assert remembered.guesses(many[:2], [512, 512]) is not None
    remembered.write_index()
    assert sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) <= 10**6
    assert remembered.guesses(many[:2], [512, 512]) is not None
    assert remembered.guesses(many[2:4], [512, 512]) is None


def test_where_nothing_can_be_written_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = model()
    plain, _ = ask(network)
    remembered = remembering(network, tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kitae.models.newllm.remembered.save_file", full)
    for _ in range(2):
        assert torch.equal(ask(network)[0], plain)
    remembered.write_index()
    assert capsys.readouterr().err.count("The disk is full.") == 1
    assert remembered.hits == 0


@pytest.mark.parametrize("place", ["a file", "a file in the way", "index.json is a folder"])
def test_a_place_that_can_not_be_used(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = model()
    plain, _ = ask(network)
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "index.json").mkdir(parents=True)
    folder = {"a file": "file", "a file in the way": "file/contexts", "index.json is a folder": "folder"}[place]
    remembered = remembering(network, tmp_path / folder)
    for _ in range(2):
        torch.testing.assert_close(ask(network)[0], plain, atol=1e-4, rtol=0)
    remembered.write_index()
    remembered.write_index()
    assert capsys.readouterr().err.count("not kept on disk") == 1
