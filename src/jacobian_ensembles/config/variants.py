"""The attacks of a run: its own, and the variants of its section ``ablation``. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jacobian_ensembles.config.attack import Attack
from jacobian_ensembles.config.schema import Config


@dataclass(frozen=True)
class RunAttacks:
    """The attacks of a run, by the names that its table of all attacks has."""

    config: Config

    def is_own(self, name: str) -> bool:
        """Whether an attack is the run's own: ``attack``, or a variant that is the same, whose results exist anyway."""
        return name == "attack" or name in self._same

    @cached_property
    def _same(self) -> list[str]:
        own, recipe = self.config.attack, self.config.attack.recipe()
        return [n for n, v in self.config.ablation.items() if v.seeds == own.seeds and v.recipe() == recipe]

    @property
    def own_name(self) -> str:
        """What the run's own attack is called: as the first variant that is the same, or ``attack``."""
        return next(iter(self._same), "attack")

    def eps_of(self, variant: str) -> list[float]:
        """The eps of the run at which a variant is tried, in the run's order."""
        chosen = self.config.ablation[variant].eps
        return [eps for eps in self.config.grid.eps if chosen is None or eps in chosen]

    @cached_property
    def all(self) -> dict[str, tuple[Attack, list[float]]]:
        """The run's own attack and its other variants, each with the eps at which it is tried."""
        others = {n: (v, self.eps_of(n)) for n, v in self.config.ablation.items() if not self.is_own(n)}
        return {self.own_name: (self.config.attack, list(self.config.grid.eps)), **others}

    @cached_property
    def known(self) -> dict[str, dict[str, Any]]:
        """What the rules that raise flags know of each: ``kind``, ``steps`` and ``family``. A user's file is run."""
        return {
            name: {"kind": attack.kind, "steps": attack.steps, "family": attack.family}
            for name, (attack, _) in self.all.items()
        }

    def white_boxes(self, eps: float) -> list[str]:
        """The attacks by gradients that are tried at an eps; the run's own if there are none. A user's file is run."""
        found = [n for n, (_, radii) in self.all.items() if eps in radii and self.known[n]["kind"] == "white box"]
        return found or [self.own_name]

    @property
    def comparable(self) -> list[str]:
        """The variants that attack the same thing as the first, within the same bound, crafted on the same images."""
        rules = {name: (v.split, v.clip, v.norm) for name, v in self.config.ablation.items()}
        return [name for name, rule in rules.items() if rule == next(iter(rules.values()))]
