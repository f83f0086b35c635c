"""What is wrong with a configuration, one line per problem."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel


def _fields_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the section at ``location``, for suggestions; empty when it is not a section."""
    for part in location:
        if isinstance(part, int):
            continue
        if typing.get_origin(model) is dict:  # the part is a name the user chose
            model = typing.get_args(model)[1]
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return []
        model = model.model_fields[part].annotation
        while typing.get_origin(model) in (Annotated, tuple, typing.Union, types.UnionType):
            model = typing.get_args(model)[0]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def describe(error: Any, model: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: where it is, what was given, what is allowed.

    Args:
        error: An entry of ``ValidationError.errors()``.
        model: The settings that were validated.
    """
    *section, key = error["loc"] or ("",)
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(model, tuple(section))
        close = difflib.get_close_matches(str(key), allowed, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        return f"{where}: unknown key{hint} Allowed here: {', '.join(allowed)}."
    if error["type"] == "missing":
        return f"{where}: this key is missing."
    message = error["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    message = re.sub(r" or instance of \w+", "", message)
    got = error["input"]
    if error["type"] == "value_error" or isinstance(got, Mapping):
        if not where or message.startswith(f"{where}."):
            return message
        # a group of settings names the one it is about
        own = message.partition(":")[0].partition(".")[0] in _fields_at(model, error["loc"])
        return f"{where}.{message}" if own else f"{where}: {message}"
    return f"{where}: got {got!r}. {message}."
