"""What some tests need: the data mirror, a browser with the built book, a GPU.

A test marked `data`, `browser` or `gpu` is skipped where its need is not met. With
CAUSALPRUNE_REQUIRE_DATA=1 or CAUSALPRUNE_REQUIRE_BROWSER=1 it fails there instead, so that a
complete run cannot pass by skipping.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing_data() -> str | None:
    """What keeps the data tests from running, or None."""
    value = os.environ.get("CAUSALPRUNE_DATA")
    if not value:
        return "CAUSALPRUNE_DATA is not set"
    absent = [part for part in ("hub", "tabular", "legcnet") if not Path(value, part).is_dir()]
    return f"CAUSALPRUNE_DATA={value} has no {', '.join(absent)}" if absent else None


def missing_browser() -> str | None:
    """What keeps the browser tests from running, or None."""
    if not any(shutil.which(name) for name in CHROMIUM):
        return f"no browser found: one of {', '.join(CHROMIUM)}"
    page = ROOT / "_build" / "html" / "index.html"
    return None if page.is_file() else f"the book is not built: {page} is missing"


def missing_gpu() -> str | None:
    """What keeps the GPU tests from running, or None."""
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


NEEDS = {
    "data": (missing_data, "CAUSALPRUNE_REQUIRE_DATA"),
    "browser": (missing_browser, "CAUSALPRUNE_REQUIRE_BROWSER"),
    "gpu": (missing_gpu, None),
}


def _seconds_alone(item: pytest.Item) -> float:
    """About how long a test marked `alone` takes; 0 for others."""
    mark = item.get_closest_marker("alone")
    return mark.kwargs["seconds"] if mark else 0.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With --dist loadgroup a worker takes a file with its fixtures, or a test marked `alone`.

    Files come first, then the tests marked `alone`, the longest first: workers end together.
    """
    items.sort(key=lambda item: -_seconds_alone(item))
    for item in items:
        group = item.nodeid if item.get_closest_marker("alone") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test whose need is not met, or fail it where that need is required."""
    for marker, (missing, variable) in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing()
        if reason is None:
            continue
        if variable is not None and os.environ.get(variable) == "1":
            pytest.fail(f"{variable}=1, but {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests download and decode out of the user's cache, unless one was named."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("CAUSALPRUNE_CACHE"):
            patch.setenv("CAUSALPRUNE_CACHE", str(tmp_path_factory.mktemp("causalprune-cache")))
        yield
