"""The LEGCNet paper's iris network in small: what the tests of its studies train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from causalprune_studies.paper_networks.settings import (
    LEGCNET_SETTINGS,
    PUBLISHED_READINGS,
    LEGCNetSettings,
    MaskReading,
)


@pytest.fixture(scope="module")
def small_iris() -> Iterator[tuple[LEGCNetSettings, MaskReading]]:
    """Eight quick epochs of training, of which not all networks reach the benchmark; recorded for
    twelve in place of two hundred."""
    settings = replace(
        LEGCNET_SETTINGS["iris_csv"], lr=1.0, epochs=2, extra_epochs=6, benchmark=0.9
    )
    reading = MaskReading(12, 60, max_lag=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LEGCNET_SETTINGS, "iris_csv", settings)
        for variant in ("FT", "PT"):
            patch.setitem(PUBLISHED_READINGS, ("iris_csv", variant), reading)
        yield settings, reading
