"""Parts of a frozen model that do what they did, keep less for the backward pass, and touch it less often.

What autograd keeps of a layer is several times what its gradients need: a norm keeps its input in fp32 twice, a gated layer
keeps three tensors where two tell the third, and an adapter's product is scaled, and added, in passes of their own. The
functions here keep inputs only and compute the rest again. They take the place of `forward` in modules that have been seen to
do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

Tensor = torch.Tensor


def make_lean(model: nn.Module) -> None:
    """Replaces what can be replaced; everything else stays as it is."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            _lean_norm(module)
        elif all(_is_plain(getattr(module, name, None)) for name in ("gate_proj", "up_proj", "down_proj")):
            _lean_gated(module)
    for module in model.modules():
        if _is_plain(module):
            module.forward = _lora_forward(module)


def _is_plain(module: Any) -> bool:
    """An adapter of two matrices beside an ordinary layer, and nothing else."""
    if type(module) is not LoraLinear or type(module.base_layer) is not nn.Linear or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    frozen = not module.base_layer.weight.requires_grad
    simple = isinstance(module.lora_dropout[name], nn.Identity) and module.lora_B[name].bias is None
    return frozen and simple and not module.lora_variant and not module.merged and not module.fan_in_fan_out


def _parts(module: Any) -> tuple[Tensor, Tensor | None, Tensor, Tensor, float]:
    (name,) = module.active_adapters
    base = module.base_layer
    return base.weight, base.bias, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]


def _lora_forward(module: Any) -> Callable[..., Tensor]:
    original = module.forward

    def forward(hidden: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        if module.disable_adapters or module.merged or arguments or settings:
            found: Tensor = original(hidden, *arguments, **settings)
            return found
        return LoraProduct.apply(hidden, *_parts(module))  # type: ignore[no-any-return,no-untyped-call]

    return forward


def _lean_gated(module: Any) -> None:
    original = module.forward

    def forward(hidden: Tensor) -> Tensor:
        if module.down_proj.disable_adapters or module.down_proj.merged:
            found: Tensor = original(hidden)
            return found
        gate, up = module.gate_proj(hidden), module.up_proj(hidden)
        return GatedLoraProduct.apply(gate, up, module.act_fn, *_parts(module.down_proj))  # type: ignore[no-any-return,no-untyped-call]

    module.forward = forward


def _lean_norm(module: Any) -> None:
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if weight is None or weight.requires_grad or not isinstance(epsilon, float):
        return
    probe = torch.randn(4, len(weight), generator=torch.Generator().manual_seed(0)).to(weight)
    with torch.no_grad():
        wanted = module(probe).float()
        for norm in (_norm(module, 0.0, epsilon), _norm(module, 1.0, epsilon)):  # Llama's way, Gemma's way
            if _alike(norm(probe).float(), wanted):
                module.forward = norm
                return


def _norm(module: Any, more: float, epsilon: float) -> Callable[[Tensor], Tensor]:
    """The weight is asked for each time, since a trainer may move it to another device."""

    def forward(hidden: Tensor) -> Tensor:
        gain = module.weight.detach()
        return RootMeanSquareNorm.apply(hidden, gain.float() + more if more else gain, epsilon)  # type: ignore[no-any-return,no-untyped-call]

    return forward


def _alike(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= 2e-2 * wanted.abs().max())  # as exact as bf16 is


class LoraProduct(torch.autograd.Function):
    """x Wᵀ + scale · x Aᵀ Bᵀ; W and its bias are frozen."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat = hidden.flatten(0, -2).to(weight.dtype)
        product, low = _product(flat, weight, bias, a, b, scale)
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.scale = scale
        return product.view(*hidden.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        flat, low, weight, a, b = ctx.saved_tensors
        slope = upstream[0].flatten(0, -2)
        of_low, of_b = _through_b(slope, low, b, ctx.scale)
        of_hidden = None
        if ctx.needs_input_grad[0]:
            of_hidden = _through_a(slope, of_low, weight, a).view(*upstream[0].shape[:-1], -1)
        return of_hidden, None, None, (of_low.T @ flat).to(a.dtype), of_b, None


class GatedLoraProduct(torch.autograd.Function):
    """The product of `act(gate) · up`, which is made again when its gradient is asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        up: Tensor,
        act: Callable[[Tensor], Tensor],
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
    ) -> Tensor:
        flat = (act(gate) * up).flatten(0, -2).to(weight.dtype)
        product, low = _product(flat, weight, bias, a, b, scale)
        ctx.save_for_backward(gate, up, low, weight, a, b)
        ctx.act, ctx.scale = act, scale
        return product.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, low, weight, a, b = ctx.saved_tensors
        slope = upstream[0].flatten(0, -2)
        of_low, of_b = _through_b(slope, low, b, ctx.scale)
        of_hidden = _through_a(slope, of_low, weight, a).view_as(gate)
        gate, up = gate.detach().requires_grad_(), up.detach().requires_grad_()
        with torch.enable_grad():
            hidden = ctx.act(gate) * up
        of_gate, of_up = torch.autograd.grad(hidden, (gate, up), of_hidden.to(hidden.dtype))
        of_a = (of_low.T @ hidden.detach().flatten(0, -2).to(of_low.dtype)).to(a.dtype)
        return of_gate, of_up, None, None, None, of_a, of_b, None


def _product(flat: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    with torch.autocast(flat.device.type, enabled=False):
        low = flat @ a.T.to(flat.dtype)
        product = nn.functional.linear(flat, weight, bias)
        return product.addmm_(low, (scale * b).T.to(flat.dtype)), low


def _through_b(slope: Tensor, low: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return slope @ (scale * b).to(slope.dtype), scale * (low.T @ slope).T.to(b.dtype)


def _through_a(slope: Tensor, of_low: Tensor, weight: Tensor, a: Tensor) -> Tensor:
    return (slope @ weight).addmm_(of_low, a.to(slope.dtype))


class RootMeanSquareNorm(torch.autograd.Function):
    """x / rms(x) · gain; the gain is frozen. Sums are fp32, whatever the input is."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        width = hidden.shape[-1]
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = (length.square() / width + epsilon).rsqrt()
        ctx.save_for_backward(hidden, inverse, gain)
        return torch.mul(hidden, inverse, out=torch.empty_like(hidden)).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        hidden, inverse, gain = ctx.saved_tensors
        slope = torch.mul(upstream[0], gain, out=torch.empty_like(hidden))
        along = (slope * hidden).sum(-1, keepdim=True, dtype=torch.float32)
        back = (along * inverse.pow(3) / hidden.shape[-1]).to(hidden.dtype)
        return torch.mul(slope, inverse, out=slope).addcmul_(hidden, back, value=-1), None, None
