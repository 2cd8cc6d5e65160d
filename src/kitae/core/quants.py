"""The types of GGUF files: all that is known of one stands in one line of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quant = Literal["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_M", "Q2_K"]


@dataclass(frozen=True)
class FileType:
    name: str
    number: int  # llama.cpp's, in `general.file_type`
    bits: int  # of a weight; with fewer, a tensor is not what the name promises
    tensor: str  # the type of most of its tensors
    # Mean KLD that it usually stays under, of models under 200M parameters and of larger ones: docs/gates.md says how that was
    # measured. Nothing is lost by types that are not quantised.
    usual_kld: tuple[float, float] = (0.0, 0.0)
    offered: bool = True  # whether Kitae makes such files


# The largest first.
FILE_TYPES = (
    FileType("F32", 0, 32, "F32", offered=False),
    FileType("BF16", 32, 16, "BF16", offered=False),
    FileType("F16", 1, 16, "F16"),
    FileType("Q8_0", 7, 8, "Q8_0", (0.01, 0.01)),
    FileType("Q6_K", 18, 6, "Q6_K", (0.03, 0.02)),
    FileType("Q5_K_M", 17, 5, "Q5_K", (0.05, 0.03)),
    FileType("Q5_K_S", 16, 5, "Q5_K", (0.05, 0.03)),
    FileType("Q4_K_M", 15, 4, "Q4_K", (0.1, 0.05)),
    FileType("Q4_K_S", 14, 4, "Q4_K", (0.1, 0.06)),
    FileType("Q4_0", 2, 4, "Q4_0", (0.15, 0.1)),
    FileType("Q3_K_M", 12, 3, "Q3_K", (0.15, 0.1)),
    FileType("Q2_K", 10, 2, "Q2_K", (0.15, 0.1)),
)
# What llama.cpp takes for a tensor whose rows can't be cut into a type's blocks.
SMALLER_BLOCKS = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "Q3_K": "Q4_0", "Q2_K": "Q4_0"}
OTHER = FileType("other", -1, 2, "other", (0.15, 0.1), offered=False)  # one that somebody else made
QUANTS = tuple(type.name for type in FILE_TYPES if type.offered)


def file_type(name: str) -> FileType:
    return next((type for type in FILE_TYPES if type.name == name), OTHER)


def numbered(number: int) -> FileType:
    return next((type for type in FILE_TYPES if type.number == number), OTHER)


def larger_than(name: str) -> str:
    """The next larger type that Kitae makes, to be used where this one lost too much."""
    return QUANTS[max(0, QUANTS.index(name) - 1)] if name in QUANTS else QUANTS[0]
