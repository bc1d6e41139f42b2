"""Smoothing picture files: size and kind are kept, originals are safe, and what is no picture is named."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from defenses.virolbi.apps.picture_files import smooth_file
from defenses.virolbi.apps.pillow import like_picture, to_planes
from harness.errors import UserError

SIZE = (7, 5)


class Recorder:
    """A smoother that notes the planes it is given and changes them by a known map."""

    def __init__(self, change: Any = lambda planes: planes) -> None:
        self.change = change
        self.seen: list[np.ndarray] = []

    def smooth_picture(self, picture: Image.Image) -> tuple[Image.Image, str]:
        self.seen.append(to_planes(picture))
        return like_picture(self.change(self.seen[-1]), picture), "reached"

    def options(self) -> dict[str, Any]:
        return {"level": 0.6, "nu": 1.0}


def values(*shape: int, high: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


def picture(mode: str) -> Image.Image:
    """A picture of random content in one of Pillow's modes."""
    width, height = SIZE
    if mode == "F":
        return Image.fromarray(np.random.default_rng(0).random((height, width), dtype=np.float32))
    if mode == "I;16":
        return Image.fromarray(values(height, width, high=65536).astype(np.uint16))
    if mode == "I":
        return Image.fromarray(values(height, width, high=65536).astype(np.int32))
    if mode in ("L", "1"):
        return Image.fromarray(values(height, width).astype(np.uint8)).convert(mode)
    color = Image.fromarray(values(height, width, 4).astype(np.uint8), "RGBA")
    if mode == "P":
        return color.convert("RGB").quantize(16)
    return color if mode == "RGBA" else color.convert(mode)


def saved(folder: Path, mode: str, ending: str = ".png", **options: Any) -> Path:
    path = folder / f"picture{ending}"
    picture(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("mode", "ending", "planes", "kept"),
    [
        ("RGB", ".png", 3, "RGB"),
        ("RGB", ".bmp", 3, "RGB"),
        ("RGB", ".ppm", 3, "RGB"),
        ("RGB", ".tiff", 3, "RGB"),
        ("L", ".png", 1, "L"),
        ("L", ".pgm", 1, "L"),
        ("1", ".png", 1, "L"),
        ("P", ".png", 3, "RGB"),
        ("LA", ".png", 1, "LA"),
        ("RGBA", ".png", 3, "RGBA"),
        ("I;16", ".png", 1, "I;16"),
        ("I;16", ".tif", 1, "I;16"),
        ("I;16", ".pgm", 1, "I"),
        ("I", ".tif", 1, "I;16"),
        ("F", ".tif", 1, "F"),
    ],
)
def test_a_picture_that_is_not_changed_comes_back_as_it_was(
    tmp_path: Path, mode: str, ending: str, planes: int, kept: str
) -> None:
    source, target, smoother = saved(tmp_path, mode, ending), tmp_path / f"out{ending}", Recorder()

    smooth_file(source, target, smoother)

    (seen,) = smoother.seen
    assert seen.shape == (planes, SIZE[1], SIZE[0])
    assert seen.dtype == np.float32
    assert 0 <= seen.min() < seen.max() <= 1
    with Image.open(source) as before, Image.open(target) as after:
        assert (after.size, after.mode, after.format) == (SIZE, kept, before.format)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before.convert(kept)))


def test_planes_are_the_channels_from_the_top_left(tmp_path: Path) -> None:
    source, smoother = saved(tmp_path, "RGB"), Recorder()

    smooth_file(source, tmp_path / "out.png", smoother)

    with Image.open(source) as before:
        for x, y in ((0, 0), (6, 0), (2, 4)):
            assert smoother.seen[0][:, y, x] * 255 == pytest.approx(before.getpixel((x, y)))


@pytest.mark.parametrize(
    ("mode", "ending", "full"), [("RGB", ".png", 255), ("L", ".png", 255), ("I;16", ".png", 65535)]
)
def test_what_is_written_is_what_the_smoother_returned(tmp_path: Path, mode: str, ending: str, full: int) -> None:
    source, target = saved(tmp_path, mode, ending), tmp_path / f"out{ending}"

    smooth_file(source, target, Recorder(lambda planes: 1 - planes / 2))

    with Image.open(source) as before, Image.open(target) as after:
        np.testing.assert_allclose(np.asarray(after), full - np.asarray(before) / 2, atol=0.5)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_not_smoothed(tmp_path: Path, mode: str) -> None:
    source, target = saved(tmp_path, mode), tmp_path / "out.png"

    smooth_file(source, target, Recorder(np.zeros_like))

    with Image.open(source) as before, Image.open(target) as after:
        np.testing.assert_array_equal(np.asarray(after)[..., -1], np.asarray(before)[..., -1])
        assert not np.asarray(after)[..., :-1].any()


@pytest.mark.parametrize(
    ("mode", "transparent", "kept"), [("P", 0, "RGBA"), ("L", 7, "LA"), ("RGB", (1, 2, 3), "RGBA")]
)
def test_a_transparent_colour_stays_transparent(tmp_path: Path, mode: str, transparent: Any, kept: str) -> None:
    original = picture(mode)
    original.putpixel((3, 2), transparent)
    original.save(tmp_path / "in.png", transparency=transparent)

    smooth_file(tmp_path / "in.png", tmp_path / "out.png", Recorder(lambda planes: planes * 0.5))

    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.mode == kept
        alpha = np.asarray(after.getchannel("A"))
        np.testing.assert_array_equal(alpha, np.asarray(before.convert("RGBA").getchannel("A")))
        assert alpha[2, 3] == 0
        assert alpha.max() == 255


def test_a_jpeg_stays_close_and_keeps_its_colours(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64).astype(np.uint8)
    Image.fromarray(np.stack(np.broadcast_arrays(smooth, smooth[:, None], 128), -1).astype(np.uint8)).save(
        tmp_path / "in.jpg", quality=95
    )

    smooth_file(tmp_path / "in.jpg", tmp_path / "OUT.JPEG", Recorder())

    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "OUT.JPEG") as after:
        assert after.format == "JPEG"
        assert np.abs(np.asarray(after, float) - np.asarray(before, float)).max() <= 6


def test_a_colour_profile_is_kept(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    smooth_file(saved(tmp_path, "RGB", icc_profile=profile), tmp_path / "out.png", Recorder())

    with Image.open(tmp_path / "out.png") as after:
        assert after.info["icc_profile"] == profile


def test_a_printers_picture_becomes_rgb_without_its_profile(tmp_path: Path) -> None:
    """The profile describes inks; on red, green and blue it would be wrong."""
    smooth_file(saved(tmp_path, "CMYK", ".jpg", icc_profile=b"inks"), tmp_path / "out.jpg", Recorder())

    with Image.open(tmp_path / "out.jpg") as after:
        assert after.mode == "RGB"
        assert "icc_profile" not in after.info


def test_a_picture_lying_on_its_side_is_set_upright(tmp_path: Path) -> None:
    original = picture("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    original.save(tmp_path / "in.png", exif=exif)

    smooth_file(tmp_path / "in.png", tmp_path / "out.png", Recorder())

    with Image.open(tmp_path / "out.png") as after:
        assert after.size == SIZE[::-1]
        assert after.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(np.asarray(after), np.rot90(np.asarray(original), -1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.5])
def test_a_floating_point_picture_outside_the_unit_range_is_refused(tmp_path: Path, bad: float) -> None:
    pixels = np.full((5, 7), 0.5, np.float32)
    pixels[2, 3] = bad
    Image.fromarray(pixels).save(tmp_path / "in.tif")

    with pytest.raises(
        UserError, match=r"picture .*in.tif cannot be smoothed: expected values in \[0,1\] in a picture of mode F"
    ):
        smooth_file(tmp_path / "in.tif", tmp_path / "out.tif", Recorder())
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("bad", [-1, 65536])
def test_an_integer_picture_of_more_than_16_bits_is_refused(tmp_path: Path, bad: int) -> None:
    pixels = np.full((5, 7), 1000, np.int32)
    pixels[2, 3] = bad
    Image.fromarray(pixels).save(tmp_path / "in.tif")

    with pytest.raises(
        UserError, match=r"in.tif cannot be smoothed: expected values in \[0,65535\] in a picture of mode I"
    ):
        smooth_file(tmp_path / "in.tif", tmp_path / "out.tif", Recorder())


def in_frames(path: Path, count: int, **options: Any) -> Path:
    first, *others = (Image.fromarray(values(*SIZE[::-1], 3, seed=seed).astype(np.uint8)) for seed in range(count))
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("ending", [".tif", ".webp", ".png", ".gif"])
def test_a_picture_of_several_frames_is_refused_as_all_but_one_would_be_lost(tmp_path: Path, ending: str) -> None:
    source = in_frames(tmp_path / f"in{ending}", 3)

    with pytest.raises(
        UserError, match=r"in\.[a-z]+ holds 3 frames; smooth knows single pictures\. Save each"
    ) as error:
        smooth_file(source, tmp_path / f"out{ending}", Recorder())
    assert "\n" not in str(error.value)
    assert [left.name for left in tmp_path.iterdir()] == [source.name]


def test_the_previews_that_cameras_put_behind_a_jpeg_do_not_count(tmp_path: Path) -> None:
    source = in_frames(tmp_path / "in.jpg", 2, format="MPO")

    smooth_file(source, tmp_path / "out.jpg", Recorder())

    with Image.open(source) as before, Image.open(tmp_path / "out.jpg") as after:
        assert (before.format, after.format, after.size) == ("MPO", "JPEG", SIZE)
        assert np.abs(np.asarray(after, float) - np.asarray(before, float)).mean() < 10


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is no picture")

    with pytest.raises(UserError, match=r"expected a picture, got another format at .*text.png"):
        smooth_file(tmp_path / "text.png", tmp_path / "out.png", Recorder())


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"])
def test_a_truncated_picture_is_named_and_nothing_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    Image.fromarray(values(40, 40, 3).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(UserError) as error:
        smooth_file(path, tmp_path / f"out{ending}", Recorder())

    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage it can live with
@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm"])
def test_no_damage_escapes_as_another_error(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # a damaged size may be enormous
    buffer = io.BytesIO()
    Image.fromarray(values(12, 12, 3).astype(np.uint8)).save(buffer, Image.registered_extensions()[ending])
    original, rng = buffer.getvalue(), np.random.default_rng(0)
    path, outcomes = tmp_path / f"in{ending}", set()
    for _ in range(150):
        content = bytearray(original[: rng.integers(1, len(original) + 1)])
        for place in rng.integers(0, min(len(content), 100), 2):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            smooth_file(path, tmp_path / "out.png", Recorder())
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"refused"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.xyz", ".xyz is the ending of no picture that can be written"),
        ("out.psd", ".psd is the ending of no picture that can be written"),
        ("nosuffix", "it has no ending"),
    ],
)
def test_an_ending_nobody_knows_is_refused_with_advice(tmp_path: Path, name: str, reason: str) -> None:
    source = saved(tmp_path, "RGB")
    expected = f"{tmp_path / name} cannot be written: {reason}. OUT needs an ending such as .png or .jpg."

    with pytest.raises(UserError, match=re.escape(expected)):
        smooth_file(source, tmp_path / name, Recorder())
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_format_that_cannot_hold_the_picture_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path, "I;16")

    with pytest.raises(UserError, match=r"out.jpg cannot be written"):
        smooth_file(source, tmp_path / "out.jpg", Recorder())
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = saved(tmp_path, "RGB"), tmp_path / "out.png"
    target.write_text("what was there")

    def full(temporary: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(temporary))

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=r"out\.png cannot be written: No space left on device\. OUT"):
        smooth_file(source, target, Recorder())

    assert target.read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "picture.png"]


def test_a_picture_is_not_written_over_itself(tmp_path: Path) -> None:
    source = saved(tmp_path, "RGB")
    before = source.read_bytes()
    (tmp_path / "link.png").symlink_to(source)

    for target in (source, tmp_path / "." / source.name, tmp_path / "link.png"):
        with pytest.raises(UserError, match="the same file; the original would be lost"):
            smooth_file(source, target, Recorder())
    assert source.read_bytes() == before
