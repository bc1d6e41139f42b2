"""The projection and its gradient, against SciPy and finite differences; the preprocessor made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr
from support.rounding import EPS, Truth, drift
from support.smoothing_samples import difference_matrix, pictures, random_images

from defenses.virolbi import component_means, project, smooth, smooth_bpda
from defenses.virolbi.backends import cpu as cpu_backend
from defenses.virolbi.bench.projected_path import project_along, walk
from defenses.virolbi.method import reference as reference_backend
from defenses.virolbi.method.settings import make_settings
from harness import registry
from harness.errors import UserError

BACKENDS = {"cpu": cpu_backend, "reference": reference_backend}
GOOD = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)


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

    result = project(image, cut_h, cut_v)

    for channel, projected in zip(image, result, strict=True):
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
    means = [part.double().mean((2, 3)) for part in (once, images)]
    torch.testing.assert_close(*means, atol=EPS / 2, rtol=0)  # summed in float64, so that each is rounded once


def test_cutting_every_edge_changes_nothing_and_cutting_none_leaves_the_mean():
    image = random_images(3, 4, 5, dtype=torch.float64).numpy()
    everything, nothing = ([np.full(shape, value) for shape in ((4, 4), (3, 5))] for value in (True, False))

    np.testing.assert_array_equal(project(image, *everything), image)
    np.testing.assert_allclose(project(image, *nothing), image.mean((1, 2), keepdims=True) + 0 * image, atol=1e-15)


def test_smoothed_images_are_their_own_projection():
    smoothed = smooth(pictures(2, 3, 8, 8))
    cut_h, cut_v = (
        smoothed.labels[:, :, 1:] != smoothed.labels[:, :, :-1],
        smoothed.labels[:, 1:] != smoothed.labels[:, :-1],
    )

    assert torch.equal(project(smoothed.images, cut_h, cut_v), smoothed.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "svdd"}, "unknown projection method 'svdd'.*Did you mean svd.*Known: graph, lsqr, qr, svd"),
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


# The projection as linear algebra

SOLVERS = {"lsqr": 1e-6, "qr": 1e-12, "svd": 1e-12}
"""How far each may be from the graph on images in [0,1], in float64."""
each_solver = pytest.mark.parametrize("method", SOLVERS)


@each_solver
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (7, 5), (12, 12)])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.6, 1.0])
def test_every_method_gives_the_graphs_projection_on_random_cuts(method, height, width, share):
    images = random_images(2, 3, height, width, dtype=torch.float64)
    cuts = random_cuts(2, height, width, share)

    projected = project(images, *cuts, method=method)

    torch.testing.assert_close(projected, project(images, *cuts), atol=SOLVERS[method], rtol=0)


@each_solver
@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_every_method_gives_the_graphs_projection_on_cuts_of_a_path(method, level):
    images = pictures(1, 3, 12, 12)
    labels = smooth(images, level=level).labels
    cuts = labels[:, :, 1:] != labels[:, :, :-1], labels[:, 1:] != labels[:, :-1]

    projected = project(images.double(), *cuts, method=method)

    torch.testing.assert_close(projected, project(images.double(), *cuts), atol=SOLVERS[method], rtol=0)


@each_solver
def test_every_method_joins_a_long_winding_component(method):
    """The hardest for LSQR: a path of 144 pixels, whose ends depend on each other across all between."""
    image = random_images(1, 12, 12, dtype=torch.float64)
    cut_h, cut_v = torch.zeros(12, 11, dtype=torch.bool), torch.ones(11, 12, dtype=torch.bool)
    cut_v[::2, -1], cut_v[1::2, 0] = False, False

    projected = project(image, cut_h, cut_v, method=method)

    torch.testing.assert_close(projected, image.mean().expand_as(image), atol=SOLVERS[method], rtol=0)


@each_solver
def test_every_method_is_an_orthogonal_projection(method):
    """P² = P, ⟨Pu, v⟩ = ⟨u, Pv⟩, and the residual is orthogonal to what is kept."""
    u, v = (random_images(1, 1, 7, 6, seed=seed, dtype=torch.float64) for seed in (1, 2))
    cuts = random_cuts(1, 7, 6, 0.5)
    kept, others = (project(image, *cuts, method=method) for image in (u, v))

    assert float((kept * v).sum()) == pytest.approx(float((u * others).sum()), abs=1e-6)
    assert float(((u - kept) * others).sum()) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(project(kept, *cuts, method=method), kept, atol=SOLVERS[method], rtol=0)
    rows = uncut_rows(cuts[0][0], cuts[1][0])
    np.testing.assert_allclose(rows @ kept.numpy().ravel(), 0, atol=SOLVERS[method])


@each_solver
def test_every_method_keeps_type_kind_and_shape(method):
    cut_h, cut_v = (cut[0].numpy() for cut in random_cuts(1, 4, 4, 0.5))
    none = torch.zeros(0, 4, 3, dtype=torch.bool), torch.zeros(0, 3, 4, dtype=torch.bool)

    projected = project(GOOD[0], cut_h, cut_v, method=method)

    assert isinstance(projected, np.ndarray)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(projected, project(GOOD[0], cut_h, cut_v), atol=1e-6)
    assert project(torch.zeros(0, 3, 4, 4), *none, method=method).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("method", ["qr", "svd"])
def test_dense_methods_refuse_images_that_would_fill_the_memory(method):
    image = np.zeros((1, 224, 224), np.float32)

    with pytest.raises(UserError, match=r"needs the 99904×50176 matrix .* 37 GiB.*Use method='graph'"):
        project(image, np.zeros((224, 223), bool), np.zeros((223, 224), bool), method=method)


# Projecting in every iteration


@pytest.mark.parametrize("scheme", ["paper", "fast"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 7), (3, 8, 8)])
def test_projecting_in_every_iteration_ends_where_smoothing_does(scheme, shape):
    image = pictures(1, *shape)[0]
    numbers = make_settings(*shape[1:], kappa=5.0, nu=1.0, step=None, scheme=scheme)

    projected, changes = project_along(image, numbers, 300)

    smoothed = smooth(image, iterations=300, scheme=scheme)
    if image[0].numel() > 1:  # a lone pixel has no edges, and smoothing hands it back
        torch.testing.assert_close(projected.clamp(0, 1), smoothed.images, atol=0, rtol=0)
        assert 0 < changes < 300


def test_a_walk_shows_the_iterates_of_float64_within_rounding():
    image, stops = pictures(1, 3, 7, 6), [1, 2, 700, 701]
    truth = Truth(image)

    points = list(walk(image[0], make_settings(7, 6, kappa=5.0, nu=1.0, step=None), stops))

    assert [at.k for at in points] == stops
    for at in points:
        torch.testing.assert_close(at.u.double(), truth.at(at.k).u[0], atol=drift(at.k), rtol=0)
        for cut, certain, possible in zip((at.cut_h, at.cut_v), *truth.supports(0, at.k), strict=True):
            assert (certain <= cut).all()
            assert (cut <= possible).all()
    assert points[2].cut_h.any()


def test_projecting_along_does_not_begin_where_exact_does():
    numbers = make_settings(4, 4, kappa=5.0, nu=1.0, step=None, scheme="exact")

    with pytest.raises(UserError, match="Use 'paper' or 'fast'"):
        project_along(pictures(1, 1, 4, 4)[0], numbers, 3)


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
        difference = float(((up - down) * weights).sum()) / (2 * epsilon)
        assert float(images.grad[place]) == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 5, 4)])
def test_component_means_are_their_own_adjoint_on_both_backends(shape):
    values, others = random_images(*shape, dtype=torch.float64), random_images(*shape, seed=1, dtype=torch.float64)
    labels = smooth(values, level=0.4).labels

    means = component_means(values, labels)

    assert float((means * others).sum()) == pytest.approx(float((values * component_means(others, labels)).sum()))
    batch, parts = means.reshape(-1, *shape[-3:]), labels.reshape(-1, *shape[-2:])
    torch.testing.assert_close(reference_backend.component_means(batch, parts), batch, atol=1e-12, rtol=0)


VALUES = torch.rand(2, 3, 4, 5)
LABELS = torch.zeros(2, 4, 5, dtype=torch.int32)


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (
            VALUES,
            torch.zeros(2, 5, 5).int(),
            r"labels must have shape \[2, 4, 5\] for values \[2, 3, 4, 5\], got \[2, 5, 5\]",
        ),
        (VALUES, LABELS[:1], r"labels must have shape \[2, 4, 5\]"),
        (VALUES[0], LABELS, r"labels must have shape \[4, 5\] for values \[3, 4, 5\], got \[2, 4, 5\]"),
        (VALUES, LABELS.index_fill(2, torch.tensor(0), -1), "labels must lie from 0 to 19, .*, got -1 to 0"),
        (VALUES, LABELS.index_fill(2, torch.tensor(0), 20), "labels must lie from 0 to 19, .*, got 0 to 20"),
        (VALUES, LABELS.float(), "labels must be whole numbers, got float32"),
        (VALUES, LABELS.bool(), "labels must be whole numbers, got bool"),
        (VALUES.byte(), LABELS, r"values must be floating point, .*, got uint8 of shape \[2, 3, 4, 5\]"),
        (VALUES[0, 0], LABELS[0], r"values must be .* \[C,H,W\], got float32 of shape \[4, 5\]"),
    ],
)
def test_labels_that_would_lead_out_of_bounds_are_refused(values, labels, message):
    for backend in ("cpu", "reference"):
        with pytest.raises(UserError, match=message) as error:
            component_means(values, labels, backend=backend)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_labels_may_be_whole_numbers_of_any_type_with_gaps(kind, backend):
    values = torch.tensor([[[1.0, 2.0, 4.0]]])

    means = component_means(values, torch.tensor([[2, 0, 2]]).to(kind), backend=backend)

    assert means.tolist() == [[[2.5, 2.0, 2.5]]]


def test_no_images_have_no_component_means():
    assert component_means(VALUES[:0], LABELS[:0]).shape == (0, 3, 4, 5)


def test_the_forward_of_the_differentiable_map_is_smooth():
    images = pictures(2, 1, 6, 6).requires_grad_()

    assert torch.equal(smooth_bpda(images, level=0.5, nu=4.0), smooth(images, level=0.5, nu=4.0).images)


# The preprocessor


def test_the_preprocessor_smooths_and_says_what_came_of_it():
    preprocessor = registry.preprocessors.create("virolbi:nu=4,level=0.5")
    images = torch.cat([pictures(2, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)])

    preprocessed = preprocessor(images)

    expected = smooth(images, nu=4, level=0.5)
    assert torch.equal(preprocessed.images, expected.images)
    assert preprocessed.outcomes == {
        "reached": 2,
        "unreachable": 1,
        "iterations": int(expected.iterations.sum()),
    }
    assert preprocessor.surrogates[0] == "bpda"
    assert repr(preprocessor) == "ViRoLBI(nu=4, level=0.5, kappa=5, scheme=paper, unroll=50)"


def test_the_preprocessors_label_has_its_parameters_in_order():
    canonical = registry.preprocessors.canonical

    assert canonical("virolbi:kappa=5,level=0.5,nu=16") == "virolbi:nu=16,level=0.5"
    assert canonical("virolbi:level=0.6") == "virolbi"


@pytest.mark.parametrize("name", ["virolbi:level=1.5", "virolbi:nu=0", "virolbi:kappa=-1"])
def test_the_preprocessor_refuses_bad_parameters_when_made(name):
    with pytest.raises(UserError, match="must be"):
        registry.preprocessors.create(name)
