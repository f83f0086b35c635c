"""A user's own figure as the catalogue would have it, read from its file without running it."""

from __future__ import annotations

import ast

from jacobian_ensembles.extensions.neighbours import parse
from jacobian_ensembles.extensions.references import ExtensionError, short_name, source_file
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES, Item
from jacobian_ensembles.runs.layout import Layout

_SETTINGS = ("eps", "confidence", "clean_weight", "clip", "objective")


def own_figure(reference: str) -> Item:
    """The figure that ``path/to/file.py:function`` draws, named like the function.

    Args:
        reference: To a function from tables by name to a matplotlib figure. Its inputs are the tables that it reads as
            ``tables["metrics"]`` and the like, its settings those of its further parameters that a run has, its caption
            the first paragraph of its docstring.

    Raises:
        ExtensionError: If there is no such function, or the catalogue has a figure or table of that name.
    """
    name, path = short_name(reference), source_file(reference)
    if path is None or name in {item.name for item in (*FIGURES, *TABLES)}:
        raise ExtensionError(f"figures.own: got {reference!r}; give path/to/file.py:function, under a name of its own")
    functions = (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef))
    function = next((node for node in functions if node.name == name), None)
    if function is None:
        raise ExtensionError(f"figures.own: got {reference!r}; {path} defines no function {name}")
    keys = [node.slice for node in ast.walk(function) if isinstance(node, ast.Subscript)]
    read = {key.value for key in keys if isinstance(key, ast.Constant)}
    parameters = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    caption = (ast.get_docstring(function) or name).partition("\n\n")[0]
    return Item(
        name=name,
        function=reference,
        inputs=tuple(source for source in Layout("", "").sources if source in read),
        caption=" ".join(caption.split()),
        settings=tuple(setting for setting in _SETTINGS if setting in parameters),
    )
