r"""Text of users inside a markup, one function per format: names, banners and notes are printed as they are.

HTML needs none: jinja2 escapes by itself.
"""
# ruff: noqa: RUF001 - characters that look alike are what this is about

from __future__ import annotations

import re
import unicodedata

_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {char: f"{{{char}}}" for char in "[]*`"}
_LATEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "|": r"\textbar{}"}
_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", '"': "''", "–": "--", "—": "---", "…": r"\ldots{}"}
_LATEX |= {"‘": "`", "’": "'", "“": "``", "”": "''", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}"}
_LATEX |= {"ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "\u00a0": "~"}
_SYMBOLS = {"×": "times", "·": "cdot", "±": "pm", "−": "-", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx"}
_SYMBOLS |= {"→": "rightarrow", "∞": "infty", "√": "surd", "∈": "in", "‖": "|", "°": "circ", "ϵ": "epsilon"}
_SYMBOLS |= {"²": "^2", "³": "^3", "¹": "^1", "∇": "nabla", "∂": "partial", "ς": "varsigma", "†": "dagger"}
_GREEK = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi o pi rho sigma tau upsilon varphi chi "
    "psi omega"
)
_SYMBOLS |= dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _GREEK.split(), strict=True))
_SYMBOLS |= {"Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma"}
_SYMBOLS |= {"Υ": "Upsilon", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "µ": "mu"}
_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0323", "`'^~=u.\"rHvcd",
                    strict=True))  # fmt: skip


def _latex_of(char: str) -> str:
    if char in _LATEX:
        return _LATEX[char]
    if char in _SYMBOLS:
        name = _SYMBOLS[char]
        command = (
            f"\\{name}" if name.isalpha() and len(name) > 1 else {"|": r"\Vert", "circ": r"^\circ"}.get(name, name)
        )
        return f"\\ensuremath{{{command}}}"
    if " " <= char <= "~":
        return char
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"{{[}}U+{ord(char):04X}{{]}}"


def latex(text: str) -> str:
    """Text for the body of a LaTeX document that pdflatex compiles without any package.

    Greek letters, common symbols and accents are spelled as commands; any other character is named, as in [U+6570].
    """
    return "".join(map(_latex_of, unicodedata.normalize("NFC", " ".join(text.split()))))


def latex_label(*parts: str) -> str:
    r"""A name for ``\label`` that is unique to its parts."""
    return "tab:" + "-".join(re.sub(r"[^A-Za-z0-9_.-]", lambda m: f"+{ord(m[0]):x}", part) for part in parts)


def markdown(text: str) -> str:
    """Text for a line or a table cell of Markdown (GitHub's), on one line."""
    text = re.sub(
        r"[\\`*|$~]|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)", r"\\\g<0>", " ".join(text.split())
    )
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)
    return re.sub(r"^(\d*)([#>+.)-])(?=\s|#|$)|^()(>)", lambda m: f"{m[1] or ''}\\{m[2] or m[4]}", text)


def mathtext(text: str) -> str:
    """Text for a figure: matplotlib would typeset what stands between two dollars."""
    return text.replace("$", r"\$")


def csv(text: str) -> str:
    """Check text for a cell of a CSV file.

    Returns:
        ``text``.

    Raises:
        ValueError: If a spreadsheet would run it as a formula.
    """
    if unicodedata.normalize("NFKC", text.lstrip()).startswith(("=", "+", "-", "@")):
        raise ValueError(f"got {text!r}, which a spreadsheet would run as a formula; begin it with a letter or a digit")
    return text
