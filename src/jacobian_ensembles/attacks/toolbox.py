"""Which toolbox attacks images one by one, and by what. No torch: the workflow asks for it whenever it starts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: The attacks, by the names that tables use.
NAMES = ("PGD", "APGD")
TOOLBOX = "adversarial-robustness-toolbox"


def toolbox_version() -> str | None:
    """The version of the toolbox that is installed; None for none."""
    try:
        return version(TOOLBOX)
    except PackageNotFoundError:
        return None
