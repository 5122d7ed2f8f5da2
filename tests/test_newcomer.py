"""What CONTRIBUTING shows a newcomer works: a score, from nothing to a table with controls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown() -> tuple[str, dict]:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names = {"__name__": "shown"}
    exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return code, names


def test_a_score_takes_less_than_thirty_lines_from_nothing_to_its_table(shown):
    code, _ = shown
    assert len([line for line in code.splitlines() if line.strip()]) < 30


def test_the_score_stands_beside_its_controls_with_seeds_and_equal_counts(shown):
    _, names = shown
    rows = names["rows"]
    assert not rows.error.notna().any()
    assert rows.seed.nunique() == 3
    at = rows[(rows.amount == 0.8) & (rows.allocation == "middle")]
    assert set(at.ranking) == {"middle", "random", "inverse", "magnitude"}
    assert at.value.between(0, 1).all()
    # it ranks as it says: the highest scores are the weights of middling size
    import causalprune_lib as cp

    model = cp.build_model("mlp", dataset="iris", hidden=[16], seed=0)
    scores, sizes = names["middle_scores"](model), cp.magnitude_scores(model)
    for name, score in scores.items():
        size = sizes[name].flatten()
        best = size[score.flatten().argmax()]
        assert (best - size.mean()).abs() == (size - size.mean()).abs().min()
