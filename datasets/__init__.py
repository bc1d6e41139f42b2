"""The harness's data sets, one file each; not Hugging Face's `datasets`."""

from typing import NoReturn

_HUGGING_FACE = {"load_dataset", "load_from_disk", "Dataset", "DatasetDict", "IterableDataset", "Features"}


def __getattr__(name: str) -> NoReturn:
    if name in _HUGGING_FACE:
        raise ImportError(
            f"`datasets.{name}` belongs to Hugging Face's library, but the robustness harness's own `datasets` "
            f"package at {__path__[0]} comes first on the path. Run from outside the harness's checkout."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
