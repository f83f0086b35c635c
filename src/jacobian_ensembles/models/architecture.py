"""What a learner's network is: name, input shape, classes, options and normalisation, as one record. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jacobian_ensembles.data.cards import CLASSES


@dataclass(frozen=True)
class Architecture:
    """A network before it is built.

    Attributes:
        name: ``lenet``, or the name of a user's own.
        shape: (channels, height, width) of an image.
        classes: C.
        options: Keyword arguments of its builder; for a LeNet ``activation`` and ``dropout``.
        mean: Subtracted from the input, inside the model.
        std: Divides the input after that, inside the model.

    Raises:
        ValueError: If a LeNet cannot take such images.
    """

    name: str = "lenet"
    shape: tuple[int, ...] = (1, 28, 28)
    classes: int = CLASSES
    options: Mapping[str, Any] = field(default_factory=dict)
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Refuse images that a LeNet cannot take."""
        object.__setattr__(self, "shape", tuple(self.shape))
        if self.name == "lenet" and self.shape != (1, 28, 28):
            raise ValueError(
                f"The images are of shape {self.shape}; a LeNet takes (1, 28, 28). Resize them, or set "
                "model.architecture to one of your own (path/to/file.py:object)."
            )

    def record(self) -> dict[str, Any]:
        """A JSON-able mapping from which ``Architecture(**record)`` makes an equal one."""
        return {**asdict(self), "shape": list(self.shape), "options": dict(self.options)}
