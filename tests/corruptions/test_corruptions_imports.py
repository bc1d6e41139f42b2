"""What corruptions import: nothing to be listed, and one clear line where OpenCV cannot be."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness import corruptions
from harness.errors import UserError


def test_listing_imports_no_image_library() -> None:
    code = "import sys; from harness.registry import corruptions; corruptions.names(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"cv2", "skimage", "scipy", "numba", "imagecorruptions", "torch", "PIL"} & set(loaded)


@pytest.mark.parametrize("name", ["defocus_blur", "frost", "spatter", "elastic_transform"])
def test_an_opencv_that_cannot_be_imported_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where a library of the system is missing
    with pytest.raises(UserError, match=r"OpenCV cannot be imported .*libGL.*opencv-python-headless") as caught:
        corruptions.corrupt(np.zeros((1, 3, 37, 41), np.uint8), name, 1, seed=0, indices=np.arange(1))
    assert "\n" not in str(caught.value)
