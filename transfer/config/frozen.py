"""The base of every schema."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
