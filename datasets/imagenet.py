"""`imagenet100`: either of the two hundred-class subsets in common use, from the user's ImageNet folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.cache import ArrayCache
from harness.registry import datasets

from .image_folder import ImageFolder


@datasets.register("imagenet100")
class ImageNet100(ImageFolder):
    """ImageNet-100 from DATA_ROOT/imagenet/{train,val}/WNID/ or another folder; list=kaggle or cmc."""

    def __init__(
        self,
        *,
        list: Literal["kaggle", "cmc"] = "kaggle",  # noqa: A002 (the name a user writes)
        folder: str | None = None,
        size: int = 224,
        resize: int = 256,
        data_root: Path,
        cache: ArrayCache,
    ) -> None:
        """`list`: Kaggle's choice of classes, or that of CMC (Tian et al. 2020); they share eight."""
        super().__init__(
            folder=folder or str(data_root / "imagenet"),
            name="imagenet100" if list == "kaggle" else f"imagenet100-{list}",
            size=size,
            resize=resize,
            classes=f"imagenet100-{list}",
            data_root=data_root,
            cache=cache,
        )
        self.list = list
