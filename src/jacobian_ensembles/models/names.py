"""The built-in architectures by name. No torch."""

from __future__ import annotations

#: Where each built-in architecture is found. One of your own is called as ``builder(shape, classes, **options)``, with
#: the shape (channels, height, width) of an image, and returns a module from (B, *shape) in [0, 1] to logits
#: (B, classes); its initial weights may come from torch's global generator, which is seeded for each learner.
ARCHITECTURES = {"lenet": "jacobian_ensembles.models.lenet:LeNet"}
