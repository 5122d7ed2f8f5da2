"""What the README promises: its code runs, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import causalprune_lib as cp

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_prune_your_own_model_runs_and_prunes_what_it_says(capsys):
    code, contest = re.findall(r"```python\n(.*?)```", text_of("README.md"), re.DOTALL)
    names: dict = {}
    exec(code, names)
    networks = names["networks"]
    assert set(networks) == {"causal", "magnitude", "random"}
    for network in networks.values():
        masks = cp.masks_of(network)
        assert masks.n - masks.n_kept == round(0.9 * masks.n)
        weights = dict(cp.remove_masks(network).named_parameters())
        assert sum(int(torch.count_nonzero(weights[name])) for name in masks) <= masks.n_kept
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert all(0.1 < float(printed[name]) <= 1 for name in networks)
    exec(contest.replace("print(", "table = ("), names)
    table = names["table"]
    assert set(table.ranking) == {"dense", "causal", "random", "inverse", "magnitude"}
    assert table.accuracy.between(0.1, 1).all()


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_exist(page):
    text = text_of(page)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:book|notebooks|tests|benchmarks|causalprune_lib)/[^`*]*)`", text)
    assert links + paths
    assert [path for path in links + paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    makefile = text_of("Makefile")
    commands = set(re.findall(r"\bmake ([a-z]+)\b", text_of(page)))
    assert {name for name in commands if f"\n{name}:" not in makefile} == set()
