"""The projection and the gradient through it, against SciPy and finite differences; the preprocessor made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from defenses.virolbi import component_means, project, smooth, smooth_bpda
from defenses.virolbi import cpu as cpu_backend
from defenses.virolbi import reference as reference_backend
from harness import registry
from harness.errors import UserError

BACKENDS = {"cpu": cpu_backend, "reference": reference_backend}
GOOD = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pictures(count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Coarse blocks under fine noise, all pixels different."""
    coarse = random_images(count, channels, -(-height // 4), -(-width // 4), seed=seed)
    blocks = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :height, :width]
    return 0.8 * blocks + 0.2 * random_images(count, channels, height, width, seed=seed + 1)


def difference_matrix(height: int, width: int) -> np.ndarray:
    """D [E,N], the horizontal edges first, both kinds row by row."""
    across, down = np.diff(np.eye(width), axis=0), np.diff(np.eye(height), axis=0)
    return np.concatenate([np.kron(np.eye(height), across), np.kron(down, np.eye(width))])


def random_cuts(count: int, height: int, width: int, share: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    horizontal = torch.rand((count, height, width - 1), generator=generator) < share
    return horizontal, torch.rand((count, height - 1, width), generator=generator) < share


def uncut_rows(cut_h: torch.Tensor, cut_v: torch.Tensor) -> np.ndarray:
    """D restricted to the uncut edges of one image."""
    height, width = len(cut_h), cut_v.shape[1]
    cut = np.concatenate([cut_h.numpy().ravel(), cut_v.numpy().ravel()])
    return difference_matrix(height, width)[~cut]


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 8), (8, 1), (5, 7), (13, 11)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_components_are_scipys(backend, height, width, share):
    cut_h, cut_v = random_cuts(3, height, width, share)

    labels = backend.components(cut_h, cut_v)

    for b in range(3):
        rows = uncut_rows(cut_h[b], cut_v[b])
        graph = csr_array(np.abs(rows.T @ rows)) if len(rows) else csr_array((height * width,) * 2)
        count, expected = connected_components(graph, directed=False)
        first = np.unique(expected, return_index=True)[1]
        rank = np.empty(count, int)
        rank[np.argsort(first)] = np.arange(count)
        assert labels[b].flatten().tolist() == rank[expected].tolist()


def test_a_spiral_is_one_component():
    walls = np.zeros((9, 9), bool)
    walls[1, :8] = walls[1:8, 7] = walls[7, 1:8] = walls[3:7, 1] = walls[3, 1:6] = walls[3:6, 5] = walls[5, 3:5] = True
    cut_h = torch.from_numpy(walls[:, 1:] != walls[:, :-1])[None]
    cut_v = torch.from_numpy(walls[1:] != walls[:-1])[None]

    for backend in BACKENDS.values():
        labels = backend.components(cut_h, cut_v)[0].numpy()
        assert np.unique(labels[~walls]).size == 1
        assert np.unique(labels[walls]).size == 1


def test_the_projection_solves_the_constrained_least_squares_problem():
    image = random_images(2, 6, 7, dtype=torch.float64)
    cut_h, cut_v = (cut[0] for cut in random_cuts(1, 6, 7, 0.4))
    rows = coo_array(uncut_rows(cut_h, cut_v))

    found = project(image, cut_h, cut_v)

    for channel, projected in zip(image, found, strict=True):
        u = channel.numpy().ravel()
        multipliers = lsqr(rows.T, u, atol=1e-14, btol=1e-14)[0]  # ũ = u − Dᵀλ with λ the least-squares solution
        np.testing.assert_allclose(projected.numpy().ravel(), u - rows.T @ multipliers, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 3]), st.floats(0, 1), st.integers(0, 99))
def test_projecting_twice_is_projecting_once_and_keeps_the_mean(height, width, channels, share, seed):
    images = random_images(2, channels, height, width, seed=seed)
    cuts = random_cuts(2, height, width, share, seed=seed)

    once = project(images, *cuts)

    assert torch.equal(project(once, *cuts), once)
    torch.testing.assert_close(once.mean((2, 3)), images.mean((2, 3)), atol=1e-6, rtol=0)


def test_cutting_every_edge_changes_nothing_and_cutting_none_leaves_the_mean():
    image = random_images(3, 4, 5, dtype=torch.float64).numpy()
    everything, nothing = ([np.full(shape, value) for shape in ((4, 4), (3, 5))] for value in (True, False))

    np.testing.assert_array_equal(project(image, *everything), image)
    np.testing.assert_allclose(project(image, *nothing), image.mean((1, 2), keepdims=True) + 0 * image, atol=1e-15)


def test_smoothed_images_are_their_own_projection():
    found = smooth(pictures(2, 3, 8, 8))
    cut_h, cut_v = found.labels[:, :, 1:] != found.labels[:, :, :-1], found.labels[:, 1:] != found.labels[:, :-1]

    assert torch.equal(project(found.images, cut_h, cut_v), found.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "svd"}, "unknown projection method 'svd'.*Known: graph"),
        ({"cut_h": np.zeros((1, 4, 4), bool)}, r"cut_h must have shape \[1, 4, 3\]"),
        ({"cut_v": np.zeros((3, 4), bool)}, r"cut_v must have shape \[1, 3, 4\]"),
        ({"cut_v": np.zeros((1, 3, 4))}, "cut_v must be boolean, got float64"),
        ({"images": np.full_like(GOOD, np.nan)}, "finite"),
        ({"images": GOOD.astype(np.float16)}, "float32 or float64"),
        ({"images": GOOD[0, 0]}, r"\[B,C,H,W\]"),
    ],
)
def test_bad_projections_are_refused(change, message):
    arguments = {"images": GOOD, "cut_h": np.zeros((1, 4, 3), bool), "cut_v": np.zeros((1, 3, 4), bool)}

    with pytest.raises(UserError, match=message):
        project(**(arguments | change))


# The gradient


def test_the_gradient_is_that_of_the_frozen_map():
    images = pictures(2, 3, 6, 6).double().requires_grad_()
    weights = random_images(2, 3, 6, 6, seed=9, dtype=torch.float64)

    (smooth_bpda(images, level=0.4) * weights).sum().backward()

    labels = smooth(images, level=0.4).labels
    epsilon = 1e-3
    for place in [(0, 0, 0, 0), (0, 2, 3, 1), (1, 1, 5, 4)]:
        bump = torch.zeros_like(images)
        bump[place] = epsilon
        up, down = (component_means(images.detach() + sign * bump, labels) for sign in (1, -1))
        slope = float(((up - down) * weights).sum()) / (2 * epsilon)
        assert float(images.grad[place]) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 5, 4)])
def test_component_means_are_their_own_adjoint_on_both_backends(shape):
    values, others = random_images(*shape, dtype=torch.float64), random_images(*shape, seed=1, dtype=torch.float64)
    labels = smooth(values, level=0.4).labels

    means = component_means(values, labels)

    assert float((means * others).sum()) == pytest.approx(float((values * component_means(others, labels)).sum()))
    batch, parts = means.reshape(-1, *shape[-3:]), labels.reshape(-1, *shape[-2:])
    torch.testing.assert_close(reference_backend.component_means(batch, parts), batch, atol=1e-12, rtol=0)


def test_the_forward_of_the_differentiable_map_is_smooth():
    images = pictures(2, 1, 6, 6).requires_grad_()

    assert torch.equal(smooth_bpda(images, level=0.5, nu=4.0), smooth(images, level=0.5, nu=4.0).images)


# The preprocessor


def test_the_preprocessor_smooths_and_says_what_came_of_it():
    preprocessor = registry.preprocessors.create("virolbi:nu=4,level=0.5")
    images = torch.cat([pictures(2, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)])

    shown = preprocessor(images)

    expected = smooth(images, nu=4, level=0.5)
    assert torch.equal(shown, expected.images)
    assert preprocessor.last_outcomes == {
        "reached": 2,
        "unreachable": 1,
        "iterations": int(expected.iterations.sum()),
    }
    assert preprocessor.gradient == "bpda"
    assert repr(preprocessor) == "ViRoLBI(nu=4, level=0.5, kappa=5)"


def test_the_preprocessors_label_has_its_parameters_in_order():
    canonical = registry.preprocessors.canonical

    assert canonical("virolbi:kappa=5,level=0.5,nu=16") == "virolbi:nu=16,level=0.5"
    assert canonical("virolbi:level=0.6") == "virolbi"


@pytest.mark.parametrize("name", ["virolbi:level=1.5", "virolbi:nu=0", "virolbi:kappa=-1"])
def test_the_preprocessor_refuses_bad_parameters_when_made(name):
    with pytest.raises(UserError, match="must be"):
        registry.preprocessors.create(name)
