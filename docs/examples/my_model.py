"""Attack and evaluate a model that knows nothing of this package. Run it: ``python docs/examples/my_model.py``."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import jacobian_ensembles as je
from jacobian_ensembles.stages.download_dataset import download_dataset
from jacobian_ensembles.stages.inputs import load_split

DATA = Path("results/data/mnist.safetensors")


def my_model(images: Tensor, labels: Tensor) -> nn.Module:
    """Stands for yours: any nn.Module from images in [0, 1] to logits; this one learns two passes over the images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        for x, y in zip(images.split(100), labels.split(100), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


def main() -> None:
    """Craft five perturbations on training images, and see what they cost on test images."""
    if not DATA.is_file():
        download_dataset("mnist", DATA)
    images, labels = load_split(DATA, "train", validation_images=5000, limit=10_000)
    test_images, test_labels = load_split(DATA, "test", validation_images=5000)
    model = my_model(images, labels)

    deltas = je.craft_uaps(model, images, labels, eps=0.15, iterations=50, seeds=range(5))
    found = je.evaluate(model, test_images, test_labels, deltas)
    print(found.to_pandas().round(3))
    print(f"clean {found.clean_accuracy:.1%}, worst of {len(deltas)} perturbations {found.worst_accuracy:.1%}")
    print(f"mean norm of the Jacobian: {je.jacobian_norm(model, test_images[:500]).mean():.1f}")


if __name__ == "__main__":
    main()
