"""What a New-LLM is made of."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

SOLVERS = ("sequential", "jacobi", "gate-scan", "newton")
CELLS = ("gated", "residual", "matrix", "seed-gated", "seed-residual", "mingru", "gru")


@strict
class NewLLMConfig(PreTrainedConfig):  # type: ignore[misc]
    """`blocks`: for each block, how many feed-forward layers lie between two updates of its context.

    `cell`: the rule by which a context is updated. `gated` and `residual` keep every norm off the carried path, so that
    their recurrence can be solved in parallel; `matrix` carries a matrix for each of `heads`, and its context is a reading
    of it; the two `seed` cells are the original definition. For comparison, `mingru` has the same layers but gates that
    don't see the context, and `gru` is the classic one, one layer a block.
    `passes` is how often training refines all contexts at once, and `settling` how much it costs a model that the last of
    them still changed something. Otherwise contexts are refined until the largest relative change of any token is under
    `tolerance`, and never more often than `max_passes`.
    """

    model_type = "newllm"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 4096
    hidden_size: int = 256
    context_size: int = 0  # 0: as wide as the stream
    blocks: list[int] = field(default_factory=lambda: [2, 2])
    cell: str = "gated"
    heads: int = 4  # of a matrix
    solver: str = "gate-scan"
    passes: int = 3
    settling: float = 2.0
    max_passes: int = 64
    tolerance: float = 1e-5
    longest_memory: float = 256.0  # in tokens: the slowest of the time-scales that contexts begin with
    dropout: float = 0.0
    block_dropout: float = 0.0
    mixing: float = 0.0  # share of training rows that begin where another row of the batch ends
    max_position_embeddings: int = 1 << 20  # no position is embedded, so this is no limit of the model
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    use_cache: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.context_size = self.context_size or self.hidden_size
        super().__post_init__(**kwargs)

    def validate_newllm(self) -> None:
        if not self.blocks or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in self.blocks):
            raise ValueError(f"blocks: {self.blocks!r} (one number of layers, at least 1, for each block)")
        if self.cell not in CELLS:
            raise ValueError(f"cell: {self.cell!r} (known: {', '.join(CELLS)})")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver: {self.solver!r} (known: {', '.join(SOLVERS)})")
        if self.cell == "gru" and (set(self.blocks) != {1} or self.context_size != self.hidden_size):
            raise ValueError(f"blocks: {self.blocks!r}, context_size: {self.context_size} (a gru's blocks are [1, …])")
        if self.cell == "matrix" and (self.heads < 1 or self.context_size % self.heads):
            raise ValueError(f"heads: {self.heads!r}, context_size: {self.context_size} (as many in each head)")
        if self.cell == "matrix" and self.solver not in ("sequential", "gate-scan"):
            raise ValueError(f"solver: {self.solver!r} (a matrix is found by sequential or gate-scan)")
        if not self.settling >= 0:
            raise ValueError(f"settling: {self.settling!r} (0 or more)")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: {self.tolerance!r} (above 0)")
        if not 1 <= self.passes <= self.max_passes:
            raise ValueError(f"passes: {self.passes!r}, max_passes: {self.max_passes!r} (1 ≤ passes ≤ max_passes)")

    def validate_layer_type(self) -> None:
        """transformers checks against the kinds that it ships; ours follow from `blocks`."""

    @property
    def layer_types(self) -> list[str]:
        """The kind of cache that each block needs."""
        return [self.model_type] * self.num_hidden_layers

    @property
    def num_hidden_layers(self) -> int:
        return len(self.blocks)
