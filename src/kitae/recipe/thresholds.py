"""The section `verify` of a recipe: where gates draw the line."""

from __future__ import annotations

from pydantic import Field

from kitae.recipe.section import Section, Share


class Thresholds(Section):
    """Where the gates draw the line. docs/gates.md says how each was calibrated."""

    min_validation_rows: int = Field(8, ge=1)
    near_duplicate_share: Share = 0.05
    dirty_rows: Share = Field(0.005, description="share of rows with a certain defect: data.tags, empty, encoding, …")
    doubtful_rows: Share = Field(0.05, description="share of rows that may be defects: data.truncated, language, duplicates")
    equivalent_kld: float = Field(1e-4, gt=0.0)
    equivalent_top1: Share = 0.999
    stop_rate: Share = 0.95
    loop_rate: Share = 0.01
    task_drop: Share = Field(0.05, description="exact match that a quantised file may lose against the trained form")
    quant_kld: float | None = Field(None, gt=0.0, description="default by type and model size")
    stop_probability: float = Field(1e-4, gt=0.0, description="the least that a frozen base must give the true stop token")
