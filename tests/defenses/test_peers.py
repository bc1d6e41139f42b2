"""The usual preprocessing peers: against the libraries they come from, and the defenses around them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import nn
from torch.nn import functional

from defenses._per_image import each_picture
from harness.contracts.defense import Preprocessor
from harness.errors import UserError
from harness.registry import defenses, preprocessors
from harness.types import Batch, TrainingState

PEERS = ("jpeg", "median", "bit_depth", "rof", "nlm")
STRONGER = {"jpeg": "quality=20", "median": "kernel=5", "bit_depth": "bits=3", "rof": "weight=0.3", "nlm": "h=0.3"}


def pictures(*shape: int, noise: float = 0.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A smooth gradient with a square on it, [.,C,H,W]; the same for each channel but for the noise."""
    height, width = shape[-2:]
    image = torch.linspace(0.2, 0.6, width, dtype=dtype).expand(*shape).clone()
    image[..., height // 4 : height // 2, width // 4 : width // 2] += 0.3
    random = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return (image + noise * random).clamp(0, 1)


def as_picture(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def create(name: str, **options: object) -> Preprocessor:
    text = ",".join(f"{key}={value}" for key, value in options.items())
    return preprocessors.create(f"{name}:{text}" if text else name)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", [(2, 1, 16, 12), (2, 3, 12, 16), (0, 3, 8, 8)])
def test_every_peer_takes_gray_colour_and_nothing(name: str, shape: tuple[int, ...]):
    images = pictures(*shape, noise=0.3)

    preprocessed = create(name)(images)

    assert (preprocessed.shape, preprocessed.dtype) == (images.shape, torch.float32)
    assert ((preprocessed >= 0) & (preprocessed <= 1)).all()


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_leaves_its_input_alone_and_gives_the_same_again(name: str):
    images = pictures(2, 3, 16, 16, noise=0.1)
    before, peer = images.clone(), create(name)

    first = peer(images)
    first_again = peer(images.to(memory_format=torch.channels_last))

    assert torch.equal(images, before)
    assert torch.equal(first, first_again)
    assert not torch.equal(first, images)


@pytest.mark.parametrize("name", PEERS)
def test_a_stronger_peer_changes_more(name: str):
    images = pictures(2, 3, 24, 24, noise=0.05)

    usual, stronger = preprocessors.create(name), preprocessors.create(f"{name}:{STRONGER[name]}")

    assert (stronger(images) - images).norm() > (usual(images) - images).norm() > 0


@pytest.mark.parametrize("name", ["median", "rof", "nlm"])
def test_the_denoisers_take_noise_away(name: str):
    clean, noisy = pictures(2, 3, 32, 32), pictures(2, 3, 32, 32, noise=0.08)

    assert (create(name)(noisy) - clean).norm() < 0.7 * (noisy - clean).norm()


@pytest.mark.parametrize("name", ["jpeg", "bit_depth", "rof", "nlm"])
def test_a_peer_without_a_derivative_has_the_identitys(name: str):
    images = pictures(2, 3, 12, 12, noise=0.1).requires_grad_()
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))

    peer = create(name)
    (peer(images) * weights).sum().backward()

    assert peer.surrogates == ("bpda",)
    assert torch.equal(images.grad, weights)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_jpeg_file_written_and_read(channels: int):
    image = pictures(1, channels, 16, 24, noise=0.1)
    levels = (as_picture(image[0]) * 255).round().astype(np.uint8)

    Image.fromarray(levels.squeeze()).save(file := io.BytesIO(), format="jpeg", quality=40)
    expected = np.asarray(Image.open(file)).reshape(16, 24, channels)

    np.testing.assert_array_equal((as_picture(create("jpeg", quality=40)(image)[0]) * 255).round(), expected)


def test_jpeg_of_two_channels_is_refused():
    with pytest.raises(UserError, match="jpeg: images must have 1 or 3 channels, got 2"):
        create("jpeg")(torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_median_equals_scipys(kernel: int):
    images = pictures(2, 3, 11, 9, noise=0.2)

    expected = ndimage.median_filter(images.numpy(), size=(1, 1, kernel, kernel), mode="mirror")

    np.testing.assert_array_equal(create("median", kernel=kernel)(images).numpy(), expected)


def test_the_median_takes_a_single_pixel_away_and_keeps_an_edge():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 1
    spotted = image.clone()
    spotted[0, 0, 3, 1] = 1

    assert torch.equal(create("median")(spotted), image)


def test_the_medians_derivative_is_exact():
    images = torch.rand(1, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()

    assert create("median").surrogates == ("exact",)
    assert torch.autograd.gradcheck(create("median"), images)


def test_a_median_wider_than_the_image_reflects_is_refused():
    with pytest.raises(UserError, match="7 pixels is too wide for images of 8×3"):
        create("median", kernel=7)(torch.zeros(1, 1, 8, 3))


def test_one_bit_is_black_or_white_and_eight_bits_are_every_level():
    images = torch.tensor([0.0, 0.2, 0.49, 0.51, 1.0]).view(1, 1, 1, 5)
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16)

    assert create("bit_depth", bits=1)(images).flatten().tolist() == [0, 0, 0, 1, 1]
    torch.testing.assert_close(create("bit_depth", bits=2)(images).flatten() * 3, torch.tensor([0.0, 1, 1, 2, 3]))
    torch.testing.assert_close(create("bit_depth", bits=8)(levels), levels)
    assert len(create("bit_depth")(levels).unique()) == 32


def test_rof_denoises_each_channel_as_scikit_image():
    image = pictures(1, 3, 16, 20, noise=0.1)

    preprocessed = create("rof", weight=0.2)(image)[0]

    for channel in range(3):
        expected = denoise_tv_chambolle(image[0, channel].numpy(), weight=0.2)
        np.testing.assert_allclose(preprocessed[channel].numpy(), np.clip(expected, 0, 1), atol=1e-6)


def test_nlm_is_scikit_images_with_its_options():
    image = pictures(1, 3, 16, 20, noise=0.1)
    options = {"h": 0.2, "patch_size": 3, "patch_distance": 4}

    expected = denoise_nl_means(as_picture(image[0]), **options, fast_mode=True, channel_axis=-1)

    np.testing.assert_allclose(as_picture(create("nlm", **options)(image)[0]), np.clip(expected, 0, 1), atol=1e-6)


def test_pictures_come_one_by_one_and_results_are_clipped():
    images, seen = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)), []

    def change(picture: np.ndarray) -> np.ndarray:
        seen.append(picture.shape)
        return 3 * picture.astype(np.float64) - 1

    changed = each_picture(images, change)

    assert seen == [(4, 5, 2)] * 3
    assert changed.dtype == torch.float32
    torch.testing.assert_close(changed, (3 * images - 1).clamp(0, 1))


@pytest.mark.parametrize("name", PEERS)
def test_the_defense_trains_plainly_and_names_its_own_preprocessor(name: str):
    labels, images = torch.arange(4), pictures(4, 3, 8, 8, noise=0.1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    given = Batch(images, labels, labels)

    defense = defenses.create(f"{name}:{STRONGER[name]}")
    loss = defense.loss(model, given, TrainingState(0, 1, torch.Generator()))

    assert torch.equal(loss, functional.cross_entropy(model(images), labels))
    assert defense.preprocess("virolbi") == f"{name}:{STRONGER[name]}"
    assert defenses.create(name).preprocess("virolbi") == name


def test_all_options_of_nlm_reach_its_preprocessor():
    label = "nlm:h=0.05,patch_size=3,patch_distance=4"

    assert defenses.create(label).preprocess("virolbi") == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpeg:quality=0", "jpeg: quality must be 1–100, got 0"),
        ("jpeg:quality=101", "got 101"),
        ("median:kernel=4", "median: kernel must be an odd width such as 3 or 5, got 4"),
        ("median:kernel=-1", "got -1"),
        ("bit_depth:bits=0", "bit_depth: bits must be 1–8, got 0"),
        ("bit_depth:bits=9", "got 9"),
        ("rof:weight=0", "rof: weight must be above 0, such as 0.1, got 0"),
        ("rof:weight=nan", "got nan"),
        ("nlm:h=-1", "nlm: h must be above 0, such as 0.1, got -1"),
        ("nlm:patch_size=0", "nlm: patch_size must be 1 pixel or more, got 0"),
        ("nlm:patch_distance=0", "nlm: patch_distance must be 1 pixel or more, got 0"),
    ],
)
def test_impossible_peers_are_refused(text: str, message: str):
    with pytest.raises(UserError, match=message):
        preprocessors.create(text)
