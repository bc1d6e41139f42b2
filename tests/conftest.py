"""What all tests share: a cache of their own, one thread each, and the real images where a developer has them.

VIROLBI_CIFAR names CIFAR-10 as a folder that `parquet:DIR` reads; without it, it is ../shared/data/cifar10-jpeg.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.attacks import five_classes

from defenses.virolbi.bench.images import from_dataset
from harness.cache import ArrayCache, default_cache
from harness.contracts.dataset import Dataset
from harness.contracts.model import NormalizedModel
from harness.registry import Registry
from harness.registry import datasets as registry

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start; tests run beside each other instead
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CIFAR = Path(os.environ.get("VIROLBI_CIFAR") or SHARED / "cifar10-jpeg")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]
DESK = {"width": 1280, "height": 900}


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the commands they start, leave the user's cache alone."""
    before = os.environ.get("VIROLBI_CACHE")
    os.environ["VIROLBI_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["VIROLBI_CACHE"]
    else:
        os.environ["VIROLBI_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two processes with two threads each would spend their time waiting for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images for development, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the real images in ../shared/data are not here")
    return SHARED


@pytest.fixture(scope="session")
def cifar_images() -> Callable[[int], torch.Tensor]:
    """CIFAR-10's test images from the first on, over and over: [count,3,32,32] uint8."""
    if not CIFAR.is_dir():
        pytest.skip(f"no CIFAR-10 at {CIFAR}; VIROLBI_CIFAR may name a folder that parquet:DIR reads")
    images = registry.create(f"parquet:{CIFAR}", data_root=CIFAR.parent, cache=default_cache()).test().images
    make = from_dataset(images)
    return lambda count: torch.from_numpy(make(count, 32))


@pytest.fixture(scope="session")
def photographs(cifar_images: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """The first 20 test images of CIFAR-10, [20,3,32,32] uint8."""
    return cifar_images(20)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Dataset]:
    """Opens a data set by its text, with the data root `tmp_path / "root"` and a cache of its own."""
    context = {"data_root": tmp_path / "root", "cache": ArrayCache(tmp_path / "cache")}
    return lambda text: registry.create(text, **context)


@pytest.fixture(scope="module")
def victim() -> tuple[NormalizedModel, torch.Tensor, torch.Tensor]:
    """A small trained network of five classes to attack, and 100 test images with their labels."""
    return five_classes()


@pytest.fixture
def register() -> Iterator[Callable[[Registry, str, Callable[..., Any]], None]]:
    """Registers something for one test only."""
    with contextlib.ExitStack() as stack:
        yield lambda registry, name, factory: stack.enter_context(registry.temporarily(name, factory))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    started = playwright.sync_playwright()
    with (
        started as playing,
        contextlib.closing(playing.chromium.launch(executable_path=path, args=BROWSER_FLAGS)) as running,
    ):
        yield running


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a view of a page's file in a window of its own; when the test ends, nothing may have been complained of
    or fetched.
    """
    complaints, contexts = [], []

    def visit(view: str = "board", *, file: Path, viewport: dict[str, int] = DESK, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if _leaves(request.url, file) else None)
        page.goto(f"{file.as_uri()}#{view}")
        page.wait_for_selector("body.ready")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def _leaves(url: str, file: Path) -> bool:
    return not url.startswith(("data:", file.as_uri()))
