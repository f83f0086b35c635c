"""What every group of settings has in common: frozen, validated, without unknown names. No torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from jacobian_ensembles.config.values import tidy


class Settings(BaseModel):
    """A frozen group of settings; an unknown name, a number that is not finite or a value out of range is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def whole(value: Any) -> Any:
    """Refuse true and 1.5 as integers, but accept "3": Snakemake's --config passes numbers as text."""
    if isinstance(value, bool | float):
        raise ValueError(f"got {value!r}; give a whole number")
    return value


def number(value: Any) -> Any:
    """Refuse true as the number 1."""
    if isinstance(value, bool):
        raise ValueError(f"got {value!r}; give a number")
    return value


PositiveInt = Annotated[int, Field(ge=1), BeforeValidator(whole)]
# tidy: 0.30000000000000004, as a NumPy range gives it, is 0.3
Unit = Annotated[float, Field(gt=0, le=1), BeforeValidator(number), AfterValidator(tidy)]
Lambda = Annotated[float, Field(ge=0), BeforeValidator(number), AfterValidator(tidy)]
