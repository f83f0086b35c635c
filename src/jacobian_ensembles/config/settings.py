"""What every group of settings has in common: frozen, validated, without unknown names. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from jacobian_ensembles.config.values import NULLS, Spoken, tidy


class Settings(BaseModel):
    """A frozen group of settings; an unknown name, a number that is not finite or a value out of range is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_text_on_a_command_line(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        nulls = {key for key, value in raw.items() if isinstance(value, Spoken) and value in NULLS}
        out = dict(raw)
        for name, field in cls.model_fields.items() if nulls else ():
            key = field.alias or name
            if key in nulls and NoneType in get_args(field.annotation):
                out[key] = None
            elif key in nulls and raw[key] and field.annotation is str:
                got = raw[key]
                raise ValueError(f"{key}: got {got}, and it cannot be none; a text '{got}' must come from a file")
        return out


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


def the_papers(value: Any) -> Any:
    """What config.yaml, the paper's grid, says of a key that has no default."""
    return Field(json_schema_extra={"default": value})


PositiveInt = Annotated[int, BeforeValidator(whole), Field(ge=1)]
Number = Annotated[float, BeforeValidator(number)]
# tidy: 0.30000000000000004, as a NumPy range gives it, is 0.3
Unit = Annotated[Number, Field(gt=0, le=1), AfterValidator(tidy)]
Lambda = Annotated[Number, Field(ge=0), AfterValidator(tidy)]
