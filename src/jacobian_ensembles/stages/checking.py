"""What no job could read or train on, refused before there are jobs."""

from __future__ import annotations

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.data.fetching import list_files, place_in
from jacobian_ensembles.data.folders import shape_of_first
from jacobian_ensembles.extensions.references import folder_of
from jacobian_ensembles.models.architecture import Architecture


def check_source(dataset: str, local_dir: str | None, architecture: str) -> None:
    """Look whether a dataset that is still to be read can be: no more than file names, and one image of a folder.

    Args:
        dataset: As the configuration names it. What a function of the user's returns is not known here.
        local_dir: The folder of a built-in dataset's files; None to download them.
        architecture: Of the networks that are to be trained on it.

    Raises:
        DataError: If a file or folder is missing or out of place.
        ValueError: If a LeNet is to be trained on images of another shape.
    """
    if dataset in CARDS:
        if local_dir is not None:
            list_files(dataset, place_in(dataset, local_dir))
    elif (folder := folder_of(dataset)) is not None:
        shape = shape_of_first(folder)
        try:
            Architecture(architecture, shape)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
