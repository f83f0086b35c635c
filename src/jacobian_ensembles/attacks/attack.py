"""What an attack is: its options, and one call that checks what it is given and what it returns. No torch.

Every attack is called here, built in or a user's, by the library, the workflow, the transfers and the stress test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.config.settings import Settings
from jacobian_ensembles.data.scalars import check_eps, check_seeds
from jacobian_ensembles.extensions.references import ExtensionError, resolve

if TYPE_CHECKING:
    from torch import Tensor, nn


class UniversalAttack(Settings):
    """A universal attack: its options are its fields, and calling it crafts perturbations.

    One of your own derives from this class, has its options as fields, checked when it is made, and defines
    :meth:`craft`; or is a plain function, see :class:`FunctionAttack`. An attack must be importable without torch if it
    is to be built in: a plan reads its options, ``kind`` and ``steps``.
    """

    @classmethod
    def said_by_a_run(cls) -> dict[str, str]:
        """Options that a run says as settings of its section ``attack``, not as ``attack.options``: those settings."""
        return {name: name for name in ("clip", "norm") if name in cls.model_fields}

    @property
    def kind(self) -> str:
        """What it knows of the model: ``noise``, nothing; ``black box``, scores; ``white box``, gradients."""
        return "white box"

    @property
    def steps(self) -> int | None:
        """Steps, or queries, for each perturbation; None where only the attack itself knows."""
        return None

    @property
    def family(self) -> tuple[str, ...]:
        """What attacks that differ only in their number of steps have in common; empty if there are no such attacks."""
        return ()

    @property
    def takes_arrays(self) -> bool:
        """Whether it also attacks LeNets in the engine (:class:`~jacobian_ensembles.models.compiled.Compiled`).

        Images, labels and perturbations are then arrays, and torch is not needed.
        """
        return False

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    def craft(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        eps: float,
        seeds: Sequence[int],
        *,
        first: int,
        side_by_side: int | None,
    ) -> Tensor:
        """Craft one perturbation per seed. Called by :meth:`__call__`, with what it has checked.

        Returns:
            (K, ...), each within eps: of its ``norm`` if it has such an option, else ``linf``.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a craft(model, images, labels, eps, seeds, **_).")

    def __call__(
        self,
        model: Any,
        images: Any,
        labels: Any,
        eps: float,
        seeds: int | Iterable[int] = (0,),
        first: int = 0,
        side_by_side: int | None = None,
    ) -> Any:
        """Craft one perturbation per seed, with the checks that all attacks share.

        Args:
            model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C).
            images: (N, ...), in [0, 1], on the model's device; with the labels tensors, or arrays for LeNets in the
                engine, if the attack takes these.
            labels: (N,), the true classes.
            eps: Radius, in (0, 1].
            seeds: K generator seeds, one per perturbation, or K for 0, ..., K - 1.
            first: The number of the first seed among all of the model's; matters only with targets.
            side_by_side: Perturbations crafted at once, see :func:`~jacobian_ensembles.attacks.ascent.in_parts`.

        Returns:
            (K, ...), each within eps.

        Raises:
            ValueError: If model, images, labels, eps or seeds cannot be used, or the attack returns anything other than
                K perturbations within eps, or none of its steps had a usable gradient.
        """
        from jacobian_ensembles.attacks.outcome import check_deltas, counting_steps
        from jacobian_ensembles.data.interop import is_tensor
        from jacobian_ensembles.models.compiled import admit
        from jacobian_ensembles.models.evaluation_mode import own_modes

        eps, seeds = check_eps(eps), check_seeds(seeds)
        with own_modes(), counting_steps() as steps:
            images, labels = admit(model, images, labels)
            deltas = self.craft(model, images, labels, eps, seeds, first=first, side_by_side=side_by_side)
        shape, norm = (len(seeds), *images.shape[1:]), getattr(self, "norm", "linf")
        check_deltas(deltas, shape, eps, self.title, norm, arrays=not is_tensor(images))
        steps.check(self.title)
        return deltas


class FunctionAttack(UniversalAttack):
    """A user's function as an attack.

    Attributes:
        function: Called as ``function(model, images, labels, eps, seeds, **options)``; see
            :meth:`UniversalAttack.__call__`. It checks its options itself.
        options: Its keyword arguments.
        name: What messages call it.
        norm: What eps bounds, ``linf`` or ``l2``: see :func:`~jacobian_ensembles.evaluation.accuracy.sizes`.
    """

    function: Callable[..., Any]
    options: dict[str, Any] = Field(default_factory=dict)
    name: str = "the attack"
    norm: str = "linf"

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name

    def craft(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seeds: Sequence[int], **_: Any
    ) -> Tensor:
        """See :meth:`UniversalAttack.craft`."""
        deltas: Tensor = self.function(model, images, labels, eps, seeds, **self.options)
        return deltas


def load_attack(
    method: str | Callable[..., Any], options: Mapping[str, Any], norm: str = "linf", clip: bool = False
) -> UniversalAttack:
    """An attack with its options.

    Args:
        method: A name of :data:`~jacobian_ensembles.attacks.registry.ATTACKS`, a reference, or what it would lead to: a
            subclass of :class:`UniversalAttack`, or a function.
        options: The fields of the class, or the keyword arguments of the function.
        norm: What eps bounds, ``linf`` or ``l2``; also the option ``norm`` of a class that has one.
        clip: The option ``clip`` of a class that has one and is not given it: clip perturbed images to [0, 1].

    Raises:
        ExtensionError: If the reference leads nowhere, or to a class of another kind.
        ValueError: If an option is unknown or out of range, or the class has no other norm than ``linf``.
    """
    found = resolve(method, ATTACKS) if isinstance(method, str) else method
    name = method if isinstance(method, str) else getattr(method, "__name__", type(method).__name__)
    if not isinstance(found, type):
        return FunctionAttack(function=found, options=dict(options), name=name, norm=norm)
    if not issubclass(found, UniversalAttack):
        raise ExtensionError(f"{name} is a class that does not derive from UniversalAttack; let it, or name a function")
    if norm != "linf" and "norm" not in found.model_fields:
        raise ValueError(f"norm: got {norm!r}; {name} searches within linf only")
    of_all = {"norm": norm, "clip": clip}
    return found(**{**{key: of_all[key] for key in of_all if key in found.model_fields}, **options})
