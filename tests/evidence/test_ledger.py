"""The results file: a foreign or damaged one is refused and left as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from causalprune_lib.evidence.grid import run_grid


@dataclass(frozen=True)
class Square:
    scale: float = 2.0

    def run(self, seed):
        return {"square": self.scale * seed**2, "seed_again": seed}


def quiet(*args, **options):
    return run_grid(*args, progress=False, **options)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: "a,b\n1,2\n", "missing"),
        (lambda text: "", "missing"),
        (lambda text: text.replace(",cell\n", ",cull\n"), "cell"),
        (lambda text: text[: len(text) // 2], "line"),
        (lambda text: re.sub(",square,[^,]*,", ",square,much,", text, count=1), "value 'much'"),
        (lambda text: re.sub("[0-9a-f]{16}\n", "feed\n", text, count=1), "cell key"),
        (lambda text: text + '"open', "reading failed|line"),
        (lambda text: text.replace(",metric,", ",value,"), "metric"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused_and_left_alone(spoil, complaint, tmp_path):
    out = tmp_path / "out.csv"
    quiet([Square()], [0, 1], out=out)
    out.write_text(spoil(out.read_text()))
    before = out.read_bytes()
    with pytest.raises(ValueError, match=complaint) as caught:
        quiet([Square()], [0, 1, 2], out=out)
    assert str(out) in str(caught.value)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_in_place_of_the_file_and_a_file_in_place_of_the_folder(tmp_path):
    with pytest.raises(ValueError, match="out must be"):
        quiet([Square()], [0], out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        quiet([Square()], [0], out=tmp_path / "file" / "out.csv")
