"""How long loading images takes: the first time, every later time, and without this cache.

The peer is Hugging Face `datasets`, which decodes PNG or JPEG at every access. Run it with

    python benchmarks/dataset_cache.py [--name mnist] [--limit 2.0]

It needs the mirror (CAUSALPRUNE_DATA), and writes its cache in a temporary folder. The exit code is
1 if a later load takes longer than `--limit` seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from causalprune_lib.nets.data import load_dataset
from causalprune_lib.nets.images import HUB_SETS
from causalprune_lib.nets.sources import mirror_folder

PEER_IMAGES = 5_000  # the peer decodes these, and its time is scaled up to all


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peer_seconds_per_image(name: str, cache: str) -> float:
    """Seconds that Hugging Face `datasets` needs per image, once its own files are prepared."""
    import datasets

    folder = mirror_folder() / "hub" / HUB_SETS[name].repository / HUB_SETS[name].folder
    split = datasets.load_dataset(str(folder), cache_dir=cache, split=f"train[:{PEER_IMAGES}]")
    column = next(key for key in ("image", "img") if key in split.column_names)
    return seconds(lambda: np.stack(list(split.with_format("numpy")[column]))) / len(split)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", choices=sorted(HUB_SETS), default="mnist")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds for a later load")
    parser.add_argument("--repeats", type=int, default=5, help="later loads; the median counts")
    options = parser.parse_args()
    if mirror_folder() is None:
        parser.error("CAUSALPRUNE_DATA must name the mirror")
    with tempfile.TemporaryDirectory() as cache:
        first = seconds(lambda: load_dataset(options.name, cache_dir=cache))
        later = [
            seconds(lambda: load_dataset(options.name, cache_dir=cache))
            for _ in range(options.repeats)
        ]
        data = load_dataset(options.name, cache_dir=cache)
        n = len(data.x_train) + len(data.x_test)
        peer = n * peer_seconds_per_image(options.name, cache)
    median = float(np.median(later))
    print(f"{options.name}: {n:,} images {data.shape}, scaled float32 tensors")
    print(f"  first load, decodes and fills the cache   {first:8.2f} s")
    print(f"  later loads, median of {options.repeats:<2d}                 {median:8.2f} s")
    print(f"    of these the slowest                    {max(later):8.2f} s")
    print(f"  Hugging Face datasets, decodes each time  {peer:8.2f} s  (without scaling)")
    print(f"  limit for a later load                    {options.limit:8.2f} s")
    return 0 if median < options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
