"""The toolbox that attacks images one by one, and its attacks. No torch: the workflow imports this on every start."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

#: The attacks, by the names that tables use.
NAMES = ("PGD", "APGD")
TOOLBOX = "adversarial-robustness-toolbox"


def toolbox_version() -> str | None:
    """The installed version of the toolbox; None if it is not installed."""
    try:
        return version(TOOLBOX)
    except PackageNotFoundError:
        return None
