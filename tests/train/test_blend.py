"""Blending, tensor by tensor."""

from __future__ import annotations

import pytest
import torch

from kitae.recipe import Blend
from kitae.train.blend import blended

BASE = torch.tensor([1.0, 2.0, 3.0, 4.0])


def blend(models: list[torch.Tensor], **settings: object) -> torch.Tensor:
    return blended(BASE, models, Blend.model_validate({"models": ["a"] * len(models), **settings}), "seed")


def test_linear_is_the_weighted_mean() -> None:
    one, two = BASE + 1, BASE - 2
    torch.testing.assert_close(blend([one, two]), BASE - 0.5)
    torch.testing.assert_close(blend([one, two], weights=[3, 1]), BASE + 0.25)
    torch.testing.assert_close(blend([one, two], weights=[1, 0]), one)


def test_slerp_keeps_the_length_that_a_straight_line_loses() -> None:
    one, two = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    middle = blended(torch.zeros(2), [one, two], Blend.model_validate({"models": ["a", "b"], "how": "slerp"}), "")
    torch.testing.assert_close(middle, torch.tensor([2.0, 2.0]) / 2**0.5)
    for share, wanted in ((0.0, one), (1.0, two)):
        settings = Blend.model_validate({"models": ["a", "b"], "how": "slerp", "weights": [1 - share, share]})
        torch.testing.assert_close(blended(torch.zeros(2), [one, two], settings, ""), wanted)


def test_slerp_of_what_has_one_direction_or_none() -> None:
    torch.testing.assert_close(blend([BASE, 3 * BASE], how="slerp"), 2 * BASE)
    torch.testing.assert_close(blend([BASE, torch.zeros(4)], how="slerp"), BASE / 2)
    assert blend([BASE, -BASE], how="slerp").isfinite().all()


def test_ties_trims_elects_and_takes_the_mean_of_those_that_agree() -> None:
    one = BASE + torch.tensor([4.0, 0.1, -3.0, 0.0])
    two = BASE + torch.tensor([2.0, 0.2, 5.0, 0.0])
    found = blend([one, two], how="ties", density=0.5)
    torch.testing.assert_close(found, BASE + torch.tensor([3.0, 0.0, 5.0, 0.0]))
    torch.testing.assert_close(
        blend([one, two], how="ties", density=0.5, scale=2.0), BASE + torch.tensor([6.0, 0.0, 10.0, 0.0])
    )
    torch.testing.assert_close(blend([one, two], how="ties", density=1.0)[1], BASE[1] + 0.15)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_dare_drops_and_makes_up_for_it(density: float) -> None:
    base = torch.zeros(20_000)
    settings = Blend.model_validate({"models": ["a", "b"], "how": "dare", "density": density})
    found = blended(base, [base + 1, base], settings, "s")
    kept = found != 0
    assert kept.float().mean().item() == pytest.approx(density, abs=0.02)
    assert found.mean().item() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 0.5 / density))
    assert torch.equal(found, blended(base, [base + 1, base], settings, "s"))
    assert density == 1.0 or not torch.equal(found, blended(base, [base + 1, base], settings, "t"))
