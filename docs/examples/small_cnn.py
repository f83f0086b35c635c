"""An architecture of your own: a small convolutional net for images of any size and number of channels.

model: {architecture: docs/examples/small_cnn.py:small_cnn, options: {width: 16}}
"""

from torch import nn


def small_cnn(shape: tuple[int, int, int], classes: int, width: int = 8) -> nn.Module:
    """Two convolutions of stride 2, the mean over the image, and a linear layer: logits (B, classes)."""
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, classes),
    )
