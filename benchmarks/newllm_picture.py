"""How contexts converge, as a picture: python benchmarks/newllm_picture.py --text FILE … [--steps 320] > docs/newllm-passes.svg

Trains a model as `newllm.py` does, finds the contexts of held-out text with one pass, two passes, … and colours each token by
how far its context still is from what a walk through time finds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from kitae.models.newllm.modeling import NewLLMForCausalLM
from kitae.models.newllm.solve import SolverPlan
from newllm import batches, corpus, fit, newllm

TOKENS, PASSES = 128, 10
CELL, LEFT, GAP = 5, 62, 54
STEPS = ("#f4f1ea", "#f3d9a4", "#e8a75d", "#c8643b", "#7d2f3c", "#2b1a3d")  # relative error: up to 1e-5, 1e-4, … 1e-1, more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=320)
    options = parser.parse_args()
    train, held_out = corpus(options.text)
    ids = held_out[:TOKENS][None]
    torch.manual_seed(0)
    gated = newllm(options.width)
    fit(gated, batches(train, 0), options.steps, 1e-2)
    torch.manual_seed(0)
    original = newllm(options.width, cell="seed-gated", solver="sequential")
    fit(original, batches(train, 0), options.steps, 3e-3)
    panels = [
        ("gated, gate-scan", errors(gated, ids, "gate-scan")),
        ("gated, jacobi", errors(gated, ids, "jacobi")),
        ("seed-gated, gate-scan", errors(original, ids, "gate-scan")),
    ]
    print("\n".join(picture(panels)))


def errors(model: NewLLMForCausalLM, ids: torch.Tensor, solver: str) -> torch.Tensor:
    """(passes, tokens): the relative error of each token's last context."""

    def contexts(plan: SolverPlan) -> torch.Tensor:
        with torch.no_grad(), model.model.solving(plan) as solutions:
            model(ids)
            return solutions[-1].contexts[0]

    walked = contexts(SolverPlan("sequential"))
    return torch.stack(
        [(contexts(SolverPlan(solver, number)) - walked).norm(dim=-1) / walked.norm(dim=-1) for number in range(1, PASSES + 1)]
    )


def picture(panels: list[tuple[str, torch.Tensor]]) -> Iterator[str]:
    width, height = LEFT + TOKENS * CELL + 10, len(panels) * (PASSES * CELL * 2 + GAP) + 40
    style = 'font-family="sans-serif" font-size="12" shape-rendering="crispEdges"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>'
    yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
    for number, (title, found) in enumerate(panels):
        top = number * (PASSES * CELL * 2 + GAP) + 24
        yield f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>'
        for line, row in enumerate(found):
            y = top + line * CELL * 2
            if line in (0, PASSES - 1):
                yield f'<text x="{LEFT - 6}" y="{y + 10}" text-anchor="end">pass {line + 1}</text>'
            for start, length, colour in runs([shade(float(error)) for error in row]):
                place = f'x="{LEFT + start * CELL}" y="{y}" width="{length * CELL}" height="{CELL * 2}"'
                yield f'<rect {place} fill="{colour}"/>'
        yield f'<text x="{LEFT}" y="{top + PASSES * CELL * 2 + 14}" fill="#555">token 1</text>'
        yield f'<text x="{width - 10}" y="{top + PASSES * CELL * 2 + 14}" fill="#555" text-anchor="end">token {TOKENS}</text>'
    for number, colour in enumerate(STEPS):
        x = LEFT + number * 90
        yield f'<rect x="{x}" y="{height - 24}" width="12" height="12" fill="{colour}" stroke="#999" stroke-width="0.5"/>'
        yield f'<text x="{x + 17}" y="{height - 14}" fill="#555">{LEGEND[number]}</text>'
    yield "</svg>"


LEGEND = ("≤ 0.001 %", "≤ 0.01 %", "≤ 0.1 %", "≤ 1 %", "≤ 10 %", "more")


def shade(error: float) -> str:
    return next((colour for power, colour in zip(range(-5, 0), STEPS, strict=False) if error <= 10.0**power), STEPS[-1])


def runs(colours: list[str]) -> Iterator[tuple[int, int, str]]:
    """(where it starts, how long it is, the colour): neighbours of one colour are drawn as one."""
    start = 0
    for place in range(1, len(colours) + 1):
        if place == len(colours) or colours[place] != colours[start]:
            yield start, place - start, colours[start]
            start = place


if __name__ == "__main__":
    main()
