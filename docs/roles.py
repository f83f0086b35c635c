"""Docstrings for the reference: Sphinx's roles become links to what it has, or code; tables stay as written."""

import re

import griffe

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|mod|data|attr|exc|obj):`(~?)([\w.]+)`")
_TABLE = re.compile(r"^=+ =+\n.*?^=+ =+$", re.MULTILINE | re.DOTALL)


class Roles(griffe.Extension):
    """The extension of griffe that .zensical.toml names."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite one docstring."""
        if obj.docstring:
            text = _TABLE.sub(_as_written, obj.docstring.value)
            obj.docstring.value = _ROLE.sub(lambda role: _reference(obj, role[1], role[2]), text)


def _as_written(table: re.Match[str]) -> str:
    plain = _ROLE.sub(r"\2", table[0]).replace("`", "")
    return f"```text\n{plain}\n```"


def _reference(obj: griffe.Object, short: str, name: str) -> str:
    scope = obj if obj.is_module else obj.parent
    try:
        target = scope.resolve(name) if scope else name
    except griffe.NameResolutionError:
        target = name
    shown = name.rsplit(".", 1)[-1] if short else name
    return f'<autoref optional identifier="{target}">`{shown}`</autoref>'
