"""The CUDA backend without a GPU: its source compiles for GPUs, and compiled for the host gives the CPU's bits."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from support.smoothing_samples import pictures, random_images

from defenses.virolbi import path, smooth
from defenses.virolbi.backends import backend_for, cpu, cuda, cuda_driver
from defenses.virolbi.method import reference
from defenses.virolbi.method.settings import Scheme, Settings, edge_count, make_settings
from defenses.virolbi.method.trace import SolverState, Trace
from harness.errors import UserError

KERNELS = {
    "iteration.cu": ("trace_in_blocks", "advance_in_grid", "find_support"),
    "projection.cu": ("find_roots", "average_components"),
}
VARIANTS = list(itertools.product((1, 3), (False, True)))
"""What iteration.cu is compiled for: channels, inertia."""
ORDERS = (0, 1, 2)
"""Threads and blocks forward, in reverse, shuffled."""
IN_BLOCKS = [(1, 1, 9), (1, 9, 1), (3, 1, 6), (3, 5, 1), (1, 1, 1), (1, 7, 6), (3, 9, 5), (3, 8, 32), (1, 13, 31)]
IN_GRID = [(1, 2, 33), (3, 1, 40), (1, 66, 4), (3, 7, 35), (1, 9, 37)]

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="needs Linux's ucontext.h and g++, for the host"
)
needs_nvrtc = pytest.mark.skipif(not cuda_driver.available(), reason="needs NVRTC, from a PyTorch built for CUDA")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class HostKernels:
    """Stands in for `cuda_driver.Kernels`: the same source on the CPU, see cuda_on_host.cpp."""

    order = 0

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.launched: list[str] = []

    def launch(self, name: str, blocks: int, threads: int, *arguments: Any, shared_bytes: int = 0) -> None:
        assert all(value.is_contiguous() for value in arguments if isinstance(value, torch.Tensor))
        assert shared_bytes <= 48 * 1024
        pointers = cuda_driver.pack(arguments)
        self.launched.append(name)
        assert self._library.launch(name.encode(), blocks, threads, pointers, self.order) == 0


def build(folder: Path, source: str, *defines: str) -> HostKernels:
    library = folder / f"{source}{len(list(folder.iterdir()))}.so"
    kernels = "".join(f"KERNEL({name})" for name in KERNELS[source])
    flags = ["-std=c++17", "-O2", "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-shared", "-fPIC"]
    names = [f'-DSOURCE="{source}"', f"-DKERNELS={kernels}", *defines, f"-I{cuda_driver.SOURCE}"]
    text = Path(__file__).with_name("cuda_on_host.cpp")
    subprocess.run(["g++", *flags, *names, str(text), "-o", str(library)], check=True)
    return HostKernels(library)


@pytest.fixture(scope="module")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, bool] | None, HostKernels]:
    """By the number of channels and whether there is inertia, None for the projection."""
    folder = tmp_path_factory.mktemp("kernels")
    iteration = {variant: build(folder, "iteration.cu", *cuda.options_for(*variant)) for variant in VARIANTS}
    return {None: build(folder, "projection.cu"), **iteration}


@pytest.fixture(params=ORDERS, ids=["forward", "reverse", "shuffled"])
def on_host(
    request: pytest.FixtureRequest,
    host_kernels: dict[tuple[int, bool] | None, HostKernels],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[str]]:
    """The CUDA backend takes CPU tensors; yields the names of the kernels it launches."""
    launched: list[str] = []
    for kernels in host_kernels.values():
        kernels.order, kernels.launched = request.param, launched
    monkeypatch.setattr(cuda, "_iteration", lambda device, *variant: host_kernels[variant])
    monkeypatch.setattr(cuda, "_projection", lambda device: host_kernels[None])
    monkeypatch.setattr(cuda, "_THREADS", 64)  # so that small images take several blocks
    monkeypatch.setattr(cuda, "_LABEL_THREADS", 64)
    monkeypatch.setattr(cuda, "LAUNCHES", 7)
    return launched


class Problem(NamedTuple):
    images: torch.Tensor
    stops: torch.Tensor
    settings: Settings


def problem(shape: tuple[int, int, int], *, count: int = 3, nu: float = 1.0, scheme: Scheme = "paper") -> Problem:
    """Images of mixed difficulty: the first is flat, and the last has a stop that is out of reach."""
    _, height, width = shape
    edges = edge_count(height, width)
    images = pictures(count, *shape)
    images[0] = 0.25
    stops = torch.tensor([[0, edges // 4, edges // 2, (3 * edges) // 5]] * count)
    stops[0], stops[-1, -1] = 0, edges + 1
    return Problem(images, stops, make_settings(height, width, kappa=5.0, nu=nu, step=None, scheme=scheme))


def assert_same(result: NamedTuple, expected: NamedTuple) -> None:
    for name, values in expected._asdict().items():
        assert torch.equal(getattr(result, name), values), name


# The kernels, on the host


@needs_compiler
@pytest.mark.parametrize("shape", IN_BLOCKS + IN_GRID, ids=str)
@pytest.mark.parametrize("scheme", ["paper", "fast"])
def test_the_kernels_give_the_bits_of_the_cpu(shape, scheme, on_host):
    asked = problem(shape, nu=2.0, scheme=scheme)

    trace = cuda.trace(*asked, 300)

    assert_same(trace, cpu.trace(*asked, 300))
    assert ("trace_in_blocks" in on_host) == (shape in IN_BLOCKS)
    assert ("advance_in_grid" in on_host) == (shape in IN_GRID)


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 36, 36)], ids=str)
def test_a_picture_of_usual_size_takes_the_same_path(shape, on_host):
    images, settings = pictures(1, *shape), problem(shape).settings
    stops = torch.tensor([[edge_count(*shape[1:]) // 20]])

    trace = cuda.trace(images, stops, settings, 1000)

    assert 0 < int(trace.iterations) < 1000
    assert_same(trace, cpu.trace(images, stops, settings, 1000))


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 9, 5), (1, 13, 31), (3, 7, 35), (1, 66, 4)], ids=str)
@pytest.mark.parametrize("scheme", ["paper", "fast"])
def test_a_path_goes_on_from_where_it_stood(shape, scheme, on_host):
    images, stops, settings = problem(shape, scheme=scheme)
    states = {backend: SolverState.start(images) for backend in (cuda, cpu)}

    for iterations in (40, 41, 200):
        trace, expected = (b.trace(images, stops, settings, iterations, state) for b, state in states.items())
        assert_same(trace, expected)

    assert_same(states[cuda], states[cpu])
    at_once = cuda.trace(images, stops, settings, 200)
    assert_same(Trace(*(part[:, -1] for part in trace)), Trace(*(part[:, -1] for part in at_once)))


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 9, 5), (3, 7, 35)], ids=str)
def test_neither_batch_mates_nor_the_size_of_a_group_matter(shape, on_host, monkeypatch):
    images, stops, settings = problem(shape, count=5)
    expected = cuda.trace(images, stops, settings, 100)

    monkeypatch.setattr(cuda, "GROUP_PIXELS", 2 * images[0, 0].numel() * stops.shape[1])

    assert_same(cuda.trace(images, stops, settings, 100), expected)
    alone = cuda.trace(images[3:4], stops[3:4], settings, 100)
    assert_same(alone, Trace(*(part[3:4] for part in expected)))


@needs_compiler
@pytest.mark.parametrize("height", [1, 9])
def test_strided_images_and_states_are_understood(height, on_host):
    images, stops, settings = problem((3, height, 8))
    strided = [part.repeat_interleave(2, -1)[..., ::2] for part in SolverState.start(images)[:-1]]
    state = SolverState(*strided, torch.zeros(6, dtype=torch.int64)[::2])

    trace = cuda.trace(images.flip(3).flip(3).transpose(2, 3).contiguous().transpose(2, 3), stops, settings, 50, state)

    assert_same(trace, cpu.trace(images, stops, settings, 50))
    assert state.iterations.tolist() == trace.iterations[:, -1].tolist()


@needs_compiler
@pytest.mark.parametrize("shape", [(3, 9, 5), (1, 7, 35)], ids=str)
def test_smoothing_works_on_the_kernels(shape, on_host, monkeypatch):
    images = problem(shape, count=4).images
    options = {"levels": (0.03, 0.2, 1.0), "max_iterations": 400}
    expected = path(images, **options)

    monkeypatch.setattr("defenses.virolbi.smoothing.backend_for", lambda *_: cuda)

    assert {"reached", "unreachable", "max_iterations"} == {o for result in expected for o in result.outcome}
    for result, other in zip(path(images, **options), expected, strict=True):
        assert result.outcome.tolist() == other.outcome.tolist()
        assert all(torch.equal(a, b) for a, b in zip(result, other, strict=True) if isinstance(a, torch.Tensor))


def test_the_exact_scheme_is_the_references():
    asked = problem((3, 6, 6), scheme="exact")

    assert_same(cuda.trace(*asked, 20), reference.trace(*asked, 20))


# The projection, on the host


@needs_compiler
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 8), (8, 1), (13, 11), (40, 50)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_components_and_means_are_the_cpus(height, width, share, on_host):
    generator = torch.Generator().manual_seed(0)
    cuts = [torch.rand((3, *cut), generator=generator) < share for cut in ((height, width - 1), (height - 1, width))]
    values = random_images(3, 3, height, width)

    labels = cuda.components(*cuts)

    assert torch.equal(labels, cpu.components(*cuts))
    assert torch.equal(cuda.component_means(values, labels), cpu.component_means(values, labels))


@needs_compiler
def test_a_spiral_is_one_component(on_host):
    walls = torch.zeros((1, 9, 9), dtype=torch.bool)
    for rows, columns in ((1, slice(8)), (slice(1, 8), 7), (7, slice(1, 8)), (slice(3, 7), 1), (3, slice(1, 6))):
        walls[0, rows, columns] = True

    labels = cuda.components(walls[:, :, 1:] != walls[:, :, :-1], walls[:, 1:] != walls[:, :-1])

    assert labels[~walls].unique().tolist() == [0]
    assert labels[walls].unique().tolist() == [1]


def test_means_in_double_precision_are_the_references():
    values = random_images(2, 3, 4, 4).double()
    labels = torch.arange(16).view(1, 4, 4).expand(2, 4, 4) // 3

    assert torch.equal(cuda.component_means(values, labels), reference.component_means(values, labels))


@needs_compiler
def test_an_empty_batch_is_no_mistake(on_host):
    images, stops, settings = problem((3, 4, 5))

    assert cuda.trace(images[:0], stops[:0], settings, 10).images.shape == (0, 4, 3, 4, 5)
    assert cuda.components(torch.zeros(0, 4, 4).bool(), torch.zeros(0, 3, 5).bool()).shape == (0, 4, 5)
    assert cuda.component_means(images[:0], torch.zeros(0, 4, 5).int()).shape == (0, 3, 4, 5)


# The compiler


@needs_nvrtc
@pytest.mark.parametrize("architecture", [75, 80, 90, 100])
def test_the_source_compiles_for_the_architecture(architecture):
    if architecture not in cuda_driver.architectures():
        pytest.skip(f"this NVRTC does not compile for compute capability {architecture / 10}")
    target = f"sm_{architecture}"

    codes = [cuda_driver.compile_source("iteration.cu", target, *cuda.options_for(*variant)) for variant in VARIANTS]
    codes.append(cuda_driver.compile_source("projection.cu", target))

    for code, names in zip(codes, (*[KERNELS["iteration.cu"]] * len(VARIANTS), KERNELS["projection.cu"]), strict=True):
        assert code.startswith(b"\x7fELF")
        assert all(name.encode() in code for name in names)


@needs_nvrtc
def test_a_gpu_newer_than_the_compiler_gets_ptx():
    newest = cuda_driver.architectures()[-1]

    target = cuda_driver.target_for(newest + 100, cuda_driver.architectures())

    assert target == f"compute_{newest}"
    assert b".visible .entry find_roots" in cuda_driver.compile_source("projection.cu", target)


@needs_nvrtc
def test_no_multiplication_is_fused_with_an_addition():
    target = f"compute_{cuda_driver.architectures()[-1]}"

    code = cuda_driver.compile_source("iteration.cu", target, *cuda.options_for(1, True))

    assert b"mul.rn.f32" in code or b"mul.f32" in code
    assert b"fma" not in code


@needs_nvrtc
def test_a_mistake_in_the_source_is_shown():
    with pytest.raises(RuntimeError, match="CHANNELS"):
        cuda_driver.compile_source("iteration.cu", f"sm_{cuda_driver.architectures()[-1]}")


@pytest.mark.parametrize(
    ("capability", "target"), [(75, "sm_75"), (86, "sm_80"), (90, "sm_90"), (103, "sm_100"), (130, "compute_120")]
)
def test_code_is_compiled_for_the_nearest_older_architecture(capability, target):
    assert cuda_driver.target_for(capability, [75, 80, 90, 100, 120]) == target


def test_a_gpu_older_than_the_compiler_is_refused():
    with pytest.raises(UserError, match=r"7\.5 and later, the GPU has 6\.1"):
        cuda_driver.target_for(61, [75, 80])


# Which backend it is


@pytest.mark.parametrize(("compilable", "name"), [(True, "cuda"), (False, "reference")])
def test_a_gpu_gets_the_kernels_where_they_can_be_compiled(compilable, name, monkeypatch):
    monkeypatch.setattr(cuda_driver, "available", lambda: compilable)

    assert backend_for(torch.device("cuda", 0)).__name__.endswith(f".{name}")


def test_the_backend_must_suit_the_device():
    with pytest.raises(UserError, match="'cuda' needs images on a cuda device, got images on cpu"):
        backend_for(torch.device("cpu"), "cuda")
    with pytest.raises(UserError, match="'cpu' needs images on a cpu device, got images on cuda:0"):
        backend_for(torch.device("cuda", 0), "cpu")
    assert backend_for(torch.device("cuda", 0), "reference") is reference


# On a GPU


def on_gpu(asked: Problem) -> Problem:
    return Problem(asked.images.cuda(), asked.stops.cuda(), asked.settings)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*IN_BLOCKS, *IN_GRID, (1, 84, 84), (3, 64, 32)], ids=str)
@pytest.mark.parametrize("scheme", ["paper", "fast"])
def test_a_gpu_gives_the_bits_of_the_cpu(shape, scheme):
    asked = problem(shape, count=5, scheme=scheme)

    trace = cuda.trace(*on_gpu(asked), 1000)

    assert_same(Trace(*(part.cpu() for part in trace)), cpu.trace(*asked, 1000))


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("scheme", ["paper", "fast"])
def test_500_images_stop_at_the_same_iterations_as_on_the_cpu(scheme):
    images = pictures(500, 3, 32, 32)

    here, there = smooth(images, scheme=scheme), smooth(images.cuda(), scheme=scheme)

    assert (here.iterations - there.iterations.cpu()).abs().max() <= 1
    assert torch.equal(here.iterations, there.iterations.cpu())
    assert torch.equal(here.images, there.images.cpu())
    assert torch.equal(here.labels, there.labels.cpu())


@needs_gpu
@pytest.mark.gpu
def test_a_gpu_joins_what_the_cpu_joins():
    for share in (0.0, 0.3, 0.45, 0.5, 0.55, 0.9):
        generator = torch.Generator().manual_seed(0)
        cuts = [torch.rand((20, *shape), generator=generator) < share for shape in ((200, 299), (199, 300))]

        assert torch.equal(cuda.components(*(cut.cuda() for cut in cuts)).cpu(), cpu.components(*cuts))


@needs_gpu
@pytest.mark.gpu
def test_kernels_run_on_the_current_stream_and_in_any_thread():
    asked = on_gpu(problem((3, 16, 16)))
    expected = cuda.trace(*asked, 500)

    def on_a_stream() -> Trace:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.default_stream())
        with torch.cuda.stream(stream):
            trace = cuda.trace(*asked, 500)
        stream.synchronize()
        return trace

    with ThreadPoolExecutor(1) as pool:
        assert_same(pool.submit(on_a_stream).result(), expected)
