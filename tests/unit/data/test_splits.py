import subprocess
import sys

import numpy as np
import pytest
import torch

from jacobian_ensembles.data.splits import limited_indices, validation_indices
from jacobian_ensembles.stages.inputs import StoredImages, load_split
from jacobian_ensembles.storage.files import ArtifactError, save_tensors

UNBALANCED = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # MNIST's own class counts


def shuffled_labels(counts, seed=3):
    labels = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    return np.random.default_rng(seed).permutation(labels)


def numbered(count, mark):
    # an image that carries its own index: three pixels in base 256, one that tells train from test, one full
    images = np.zeros((count, 28, 28), np.uint8)
    index = np.arange(count)
    for place in range(3):
        images[:, 0, place] = (index // 256**place) % 256
    images[:, 5, 5] = mark
    images[:, 27, 27] = 255
    return images


def numbers(images):
    digits = torch.round(images[:, 0, 0, :3] * 255).to(torch.int64).numpy()
    return digits @ np.array([1, 256, 256**2])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "mnist.safetensors"
    arrays = {
        "train_images": numbered(60_000, 51),
        "train_labels": shuffled_labels(UNBALANCED),
        "test_images": numbered(10_000, 102),
        "test_labels": shuffled_labels([1000] * 10, seed=4),
    }
    save_tensors(path, arrays, kind="dataset", spec={"dataset": "numbered"})
    return path, arrays


@pytest.mark.parametrize("size", [1, 7, 10, 4_999, 5_000, 30_000])
@pytest.mark.parametrize("counts", [UNBALANCED, [6000] * 10, [2, 59_000, 0, 0, 998, 0, 0, 0, 0, 0]])
def test_validation_split_is_stratified_to_within_one_image_per_class(counts, size):
    labels = shuffled_labels(counts)
    chosen = validation_indices(labels, size, "mnist")
    assert len(chosen) == len(set(chosen.tolist())) == size
    got = np.array([(labels[chosen] == c).sum() for c in range(10)])
    assert (np.abs(got - np.array(counts) * size / sum(counts)) < 1).all()


def test_largest_remainders_get_the_images_that_rounding_down_leaves():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])  # shares of 3: 1.5, 0.9, 0.6
    chosen = validation_indices(labels, 3, "mnist")
    assert labels[chosen].tolist() == [0, 1, 2]


def test_validation_split_ignores_every_global_seed():
    labels = shuffled_labels([100] * 10)
    picks = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002 - it is this legacy global state that must not matter
        torch.manual_seed(seed)
        picks.append(validation_indices(labels, 50, "mnist").tolist())
    assert picks[0] == picks[1]


def test_validation_split_is_the_same_in_another_process():
    labels = np.arange(1000) % 10
    program = (
        "import numpy as np; from jacobian_ensembles.data.splits import limited_indices, validation_indices;"
        "print(*validation_indices(np.arange(1000) % 10, 30, 'mnist'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [int(i) for i in done.stdout.split()] == validation_indices(labels, 30, "mnist").tolist()


def test_validation_split_is_random_within_a_class_and_differs_between_datasets():
    labels = np.repeat(np.arange(10), 200)
    mnist, fashion = (set(validation_indices(labels, 500, d).tolist()) for d in ("mnist", "fashion_mnist"))
    # two independent draws of a quarter share a sixteenth of the images: 125, give or take 9
    assert 80 < len(mnist & fashion) < 170
    places = np.array(sorted(mnist)) % 200
    assert 90 < places.mean() < 109  # uniform would be 99.5, give or take 2.6


def test_train_and_validation_partition_the_training_set(stored):
    path, arrays = stored
    train, train_labels = load_split(path, "train", 5_000)
    validation, validation_labels = load_split(path, "validation", 5_000)
    assert sorted([*numbers(train), *numbers(validation)]) == list(range(60_000))
    assert len(validation) == 5_000
    np.testing.assert_array_equal(train_labels.numpy(), arrays["train_labels"][numbers(train)])
    np.testing.assert_array_equal(validation_labels.numpy(), arrays["train_labels"][numbers(validation)])
    got = np.bincount(validation_labels.numpy(), minlength=10)
    assert (np.abs(got - np.array(UNBALANCED) / 12) < 1).all()
    assert train[:, 0, 5, 5].unique().tolist() == pytest.approx([0.2])  # 51 of 255: the training file


def test_test_split_is_every_test_image_in_order(stored):
    path, arrays = stored
    images, labels = load_split(path, "test", 5_000)
    assert numbers(images).tolist() == list(range(10_000))
    np.testing.assert_array_equal(labels.numpy(), arrays["test_labels"])
    assert images[:, 0, 5, 5].unique().tolist() == pytest.approx([0.4])  # 102 of 255: the test file


@pytest.mark.parametrize(("split", "count"), [("train", 59_000), ("validation", 1_000), ("test", 10_000)])
def test_splits_are_float_images_in_the_unit_interval_and_int_labels(stored, split, count):
    images, labels = load_split(stored[0], split, 1_000)
    assert (images.shape, images.dtype) == ((count, 1, 28, 28), torch.float32)
    assert (labels.shape, labels.dtype) == ((count,), torch.int64)
    assert (images.min().item(), images.max().item()) == (0.0, 1.0)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_limit_takes_a_fixed_random_subset_of_the_split(stored, split):
    path, arrays = stored
    first, labels = load_split(path, split, 1_000, limit=40)
    again, _ = load_split(path, split, 1_000, limit=40)
    held_out = set(validation_indices(arrays["train_labels"], 1_000, "numbered").tolist())
    allowed = {"train": set(range(60_000)) - held_out, "validation": held_out, "test": set(range(10_000))}[split]
    picked = numbers(first)
    assert len(set(picked.tolist())) == len(labels) == 40
    assert set(picked.tolist()) <= allowed
    assert picked.max() > sorted(allowed)[40]  # not merely the first forty
    part = "test" if split == "test" else "train"
    np.testing.assert_array_equal(labels.numpy(), arrays[f"{part}_labels"][picked])
    assert torch.equal(first, again)


def test_limit_may_be_the_whole_split_and_no_more(stored):
    assert len(load_split(stored[0], "validation", 50, limit=50)[1]) == 50
    with pytest.raises(ValueError, match=r"51 validation images asked for; it has 50"):
        load_split(stored[0], "validation", 50, limit=51)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "learners.safetensors"
    save_tensors(path, {"train_images": np.zeros(3, np.uint8)}, kind="learners", spec={"dataset": "mnist"})
    with pytest.raises(ArtifactError, match=r"learners\.safetensors: expected a file of kind 'dataset'"):
        load_split(path, "test", 10)


def test_wrong_shapes_dtypes_and_missing_arrays_are_all_named(tmp_path):
    path = tmp_path / "small.safetensors"
    arrays = {
        "train_images": np.zeros((60, 28, 28), np.uint8),
        "train_labels": np.zeros(60_000, np.int32),
        "test_labels": np.zeros(10_000, np.uint8),
    }
    save_tensors(path, arrays, kind="dataset", spec={"dataset": "mnist"})
    with pytest.raises(ArtifactError) as caught:
        load_split(path, "test", 10)
    message = str(caught.value)
    assert str(path) in message
    for problem in ("missing test_images", "train_images is uint8 (60, 28, 28)", "train_labels is int32 (60000,)"):
        assert problem in message
    assert "test_labels" not in message


def test_a_users_dataset_may_have_any_size_but_one_only(tmp_path):
    path = tmp_path / "own.safetensors"
    labels = np.arange(12, dtype=np.uint8) % 3
    tensors = {
        "train_images": np.arange(12 * 5 * 4 * 3, dtype=np.uint8).reshape(12, 5, 4, 3),
        "train_labels": labels,
        "test_images": np.zeros((3, 5, 4, 3), np.uint8),
        "test_labels": labels[:3],
    }
    save_tensors(path, tensors, kind="dataset", spec={"dataset": "own"})
    images, _ = load_split(path, "train", 3)
    assert images.shape == (9, 3, 5, 4)
    assert StoredImages(path, 3).classes == 3
    with pytest.raises(ValueError, match="own: 12 validation images asked for; its training set has 12 in all"):
        load_split(path, "train", 12)
    save_tensors(path, {**tensors, "test_images": np.zeros((3, 5, 5, 3), np.uint8)}, "dataset", {"dataset": "own"})
    with pytest.raises(ArtifactError, match="test_images"):
        load_split(path, "test", 3)


@pytest.mark.parametrize("size", [1, 91, 176, 178])
def test_every_class_keeps_an_image_to_train_on(size, caplog):
    labels = np.array([0] * 60 + [1] * 60 + [2] * 60 + [3] + [4, 4])
    chosen = validation_indices(labels, size, "rare")
    assert len(chosen) == size
    assert set(np.delete(labels, chosen)) == {0, 1, 2, 3, 4}
    assert "no validation image of class" in caplog.text
    assert "3" in caplog.text


def test_a_validation_split_that_would_take_a_classs_last_image_is_refused():
    labels = np.array([0] * 6 + [1])
    assert len(validation_indices(labels, 5, "rare")) == 5
    with pytest.raises(ValueError, match=r"6 validation images asked for.*2 classes needs one.*at most 5"):
        validation_indices(labels, 6, "rare")


@pytest.mark.parametrize("limit", [4, 5, 10, 100, 203])
def test_a_limit_leaves_no_class_out(limit):
    labels = np.array([0] * 100 + [1] * 100 + [2, 3, 3])
    index = np.arange(len(labels))
    chosen = limited_indices(index, labels, limit, "rare", "train")
    assert len(set(chosen)) == limit
    assert list(chosen) == sorted(chosen)
    assert set(labels[chosen]) == {0, 1, 2, 3}
    assert np.array_equal(chosen, limited_indices(index, labels, limit, "rare", "train"))


def test_a_limit_below_the_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"2 train images asked for; its 3 classes need one each"):
        limited_indices(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), 2, "rare", "train")


def test_a_built_in_dataset_is_its_published_content(stored, tmp_path):
    _, arrays = stored
    save_tensors(tmp_path / "mnist.safetensors", arrays, kind="dataset", spec={"dataset": "mnist"})
    with pytest.raises(ArtifactError, match=r"mnist\.safetensors: it is called mnist, but holds other images"):
        load_split(tmp_path / "mnist.safetensors", "test", 0)


def test_a_file_of_another_dataset_is_refused_by_a_job(stored):
    path, _ = stored
    assert len(StoredImages(path, 5000, dataset="numbered").split("test")[1]) == 10_000
    with pytest.raises(ArtifactError, match="it holds numbered, where mnist is needed"):
        StoredImages(path, 5000, dataset="mnist").split("test")
