"""Pictures of every mode as RGB: what a viewer shows, or refused by the mode's name."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import UserError
from harness.files.pictures import Picture, decode, read_size

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
"""[6,8], from black to nearly white."""


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> Picture:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Picture(stream.getvalue(), "it")


def gray_of(picture: Picture) -> np.ndarray:
    """[H,W] of a picture whose three channels must agree."""
    pixels = np.asarray(decode(picture))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize(
    "picture",
    [
        saved(Image.fromarray(RAMP)),
        saved(Image.fromarray(RAMP.astype(np.uint16) * 257)),
        saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "PPM"),
        saved(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"),
        saved(Image.fromarray(RAMP).convert("P")),
        saved(Image.fromarray(RAMP).convert("RGBA")),
        saved(Image.fromarray(RAMP).convert("LA")),
        saved(Image.merge("CMYK", [Image.new("L", (8, 6))] * 3 + [Image.fromarray(255 - RAMP)]), "TIFF"),
    ],
    ids=["8 bits", "16 bits", "16-bit TIFF", "16-bit PGM", "floats", "palette", "RGBA", "LA", "CMYK"],
)
def test_every_mode_keeps_its_shades(picture: Picture) -> None:
    assert np.abs(gray_of(picture).astype(int) - RAMP).max() <= 1


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_drawn_in_transparency_can_be_seen(ink: int, paper: int, mode: str) -> None:
    drawn = Image.new("L", (8, 6), ink).convert(mode)
    drawn.putalpha(Image.fromarray(RAMP))

    shade = gray_of(saved(drawn)).astype(int)

    expected = paper + (ink - paper) * RAMP.astype(float) / 255
    assert np.abs(shade - expected).max() <= 1


def test_a_speck_does_not_hide_what_is_drawn_in_white() -> None:
    drawn = Image.new("L", (16, 16), 255).convert("RGBA")
    drawn.putalpha(Image.fromarray(np.kron(np.eye(4), np.full((4, 4), 255)).astype(np.uint8)))
    drawn.putpixel((0, 0), (0, 0, 0, 255))

    assert gray_of(saved(drawn))[:4, 4:8].max() == 0
    assert gray_of(saved(drawn))[4:8, 4:8].min() == 255


def test_a_transparent_colour_becomes_white() -> None:
    picture = saved(Image.fromarray(RAMP), transparency=int(RAMP[0, 0]))

    assert gray_of(picture)[0, 0] == 255
    assert np.array_equal(gray_of(picture)[1:], RAMP[1:])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_file_says(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    picture = saved(Image.fromarray(RAMP), kind, exif=exif if kind == "TIFF" else exif.tobytes(), **lossless)

    turned = {
        1: RAMP,
        2: RAMP[:, ::-1],
        3: RAMP[::-1, ::-1],
        4: RAMP[::-1],
        5: RAMP.T,
        6: np.rot90(RAMP, -1),
        7: RAMP[::-1, ::-1].T,
        8: np.rot90(RAMP),
    }[orientation]
    assert np.array_equal(gray_of(picture), turned)
    assert read_size(picture) == turned.shape


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), r"floats from 0 to 1 \(mode F\), got 0 to 235"),
        (saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), r"mode F"),
        (saved(Image.fromarray(RAMP.astype(np.int32) * 1000), "TIFF"), r"32-bit integers \(mode I\) is not known"),
        (
            saved(Image.fromarray(RAMP), "GIF", save_all=True, append_images=[Image.fromarray(RAMP.T.reshape(6, 8))]),
            "it holds 2 frames",
        ),
        (Picture(b"", "it"), "it is not a picture in a format that Pillow reads"),
    ],
)
def test_a_range_that_is_not_known_is_refused_by_the_modes_name(picture: Picture, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode(picture)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")

    for read in (decode, read_size):
        with pytest.raises(UserError, match="a folder, a pipe or a device, not a picture"):
            read(Picture(tmp_path / "a.png", "it"))


def test_a_damaged_picture_is_a_users_error_whatever_pillow_raises() -> None:
    rng = np.random.default_rng(0)
    sound = [saved(Image.fromarray(RAMP), kind).source for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF")]
    for number in range(700):
        content = bytearray(sound[number % len(sound)])
        for place in rng.integers(0, len(content), rng.integers(1, 8)):
            content[place] = rng.integers(0, 256)
        picture = Picture(bytes(content[: rng.integers(1, len(content) + 1)]), "it")
        with contextlib.suppress(UserError):
            assert decode(picture).mode == "RGB"
