"""Does a pruned network run faster? Dense against CSR linear layers, in one run.

The same MLP is pruned to several sparsities. Each pruned network runs twice: with PyTorch's dense
linear layers, which multiply by the zeros too, and with its weights in compressed sparse rows. The
models take turns, so a busy machine slows all of them alike; the ratio is the figure to read.

    python benchmarks/latency_dense_sparse.py
    python benchmarks/latency_dense_sparse.py --batch 1 64 --threads 4 --out rows.csv
"""

from __future__ import annotations

import argparse
import copy

import pandas as pd
import torch
from torch import nn

from causalprune_lib._validation import check_fraction
from causalprune_lib.diagnostics.cost import compare_latency, model_cost, sparse_linear_copy
from causalprune_lib.nets.models import build_model


def pruned_at_random(model: nn.Module, sparsity: float, *, seed: int = 0) -> nn.Module:
    """Copy `model` and set a share `sparsity` of every weight matrix to zero."""
    check_fraction("sparsity", sparsity)
    generator = torch.Generator().manual_seed(seed)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for layer in twin.modules():
            if isinstance(layer, nn.Linear):
                keep = torch.rand(layer.weight.shape, generator=generator) >= sparsity
                layer.weight *= keep
    return twin


def measure(
    sparsities: list[float], batches: list[int], *, hidden: list[int], repeats: int, device: str
) -> pd.DataFrame:
    """One row per sparsity and batch size: times in microseconds, and bytes."""
    dense = build_model("mlp", dataset="mnist", hidden=hidden)
    pruned = {sparsity: pruned_at_random(dense, sparsity).to(device) for sparsity in sparsities}
    models = {"dense": dense.to(device)}
    models |= {sparsity: sparse_linear_copy(model) for sparsity, model in pruned.items()}
    rows = []
    for batch in batches:
        example = torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        example = example.to(device)
        times = compare_latency(models, example, repeats=repeats).set_index("model")
        for sparsity, model in pruned.items():
            cost, time = model_cost(model, example).total, times.loc[sparsity]
            rows.append(
                {
                    "batch": batch,
                    "sparsity": sparsity,
                    "dense_us": 1e6 * times.loc["dense", "median"],
                    "csr_us": 1e6 * time["median"],
                    "time_ratio": time["ratio"],
                    "ratio_q25": time["ratio_q25"],
                    "ratio_q75": time["ratio_q75"],
                    "multiply_add_ratio": cost["multiply_adds_sparse"] / cost["multiply_adds"],
                    "byte_ratio": cost["csr_bytes"] / cost["dense_bytes"],
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Read the options, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.8, 0.9, 0.95, 0.99])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024, 1024])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default 1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", help="also write the rows to this CSV file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frame = measure(
        options.sparsity,
        options.batch,
        hidden=options.hidden,
        repeats=options.repeats,
        device=options.device,
    )
    widths = " - ".join(map(str, [784, *options.hidden, 10]))
    print(
        f"MLP {widths}, float32, {options.device}, {torch.get_num_threads()} thread(s), "
        f"torch {torch.__version__}, {options.repeats} rounds. Ratios: CSR over dense, below 1 is "
        "a gain."
    )
    digits = {name: "{:.0f}".format if name.endswith("_us") else "{:.3f}".format for name in frame}
    print(frame.to_string(index=False, formatters=digits | {"batch": str, "sparsity": str}))
    if options.out:
        frame.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
