"""Is a model's robustness real? Ask it of an honest model and of one that hides its gradients.

Run it: ``python docs/examples/robust.py``.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import jacobian_ensembles as je
from jacobian_ensembles.robustness.flags import flags_of
from jacobian_ensembles.stages.download_dataset import download_dataset

DATA = Path("results/data/mnist.safetensors")


def trained(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """A small net after two passes over the images."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        for x, y in zip(images.split(100), labels.split(100), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


class Quantised(nn.Module):
    """A "defence": pixels are rounded to nine levels, which hides the gradient and protects nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Classify (B, 1, 28, 28): logits (B, 10)."""
        return self.net((8 * x).round() / 8)


def main() -> None:
    """Print both models' tables and flags."""
    if not DATA.is_file():
        download_dataset("mnist", DATA)
    images, labels = je.load_split(DATA, "train", validation_images=5000, limit=10_000)
    test = je.load_split(DATA, "test", validation_images=5000, limit=2_000)
    net, other = trained(images, labels, seed=0), trained(images, labels, seed=1)
    shown = ["attack", "kind", "eps", "worst_accuracy", "mean_accuracy", "without_gradient", "flags"]
    for name, model in {"honest": net, "quantised": Quantised(net)}.items():
        table = je.stress(model, images, labels, test=test, eps=(0.1, 0.5), others={"other": other})
        print(f"{name}: {', '.join(flags_of(table)) or 'no flag'}")
        print(table.loc[table["eps"] <= 0.1, shown].round(3).to_string(index=False), "\n")


if __name__ == "__main__":
    main()
