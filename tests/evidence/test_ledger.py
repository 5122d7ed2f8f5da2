"""The file of results: equal rows give equal files; a foreign or damaged one is left as it is."""

from __future__ import annotations

import gzip
import os
import re

import pytest

from causalprune_lib.evidence.ledger import Ledger, read_rows, to_frame

DAMAGE = [
    (lambda text: "a,b\n1,2\n", "missing"),
    (lambda text: "", "missing"),
    (lambda text: text.replace(",cell\n", ",cull\n"), "cell"),
    (lambda text: text[: len(text) // 2], "line"),
    (lambda text: re.sub(",square,[^,]*,", ",square,much,", text, count=1), "value 'much'"),
    (lambda text: re.sub(",square,[^,]*,", ",error,1.0,", text, count=1), "metric 'error'"),
    (lambda text: re.sub("[0-9a-f]{16}\n", "feed\n", text, count=1), "cell key"),
    (lambda text: text + '"open', "reading failed|line"),
    (lambda text: text.replace(",metric,", ",value,"), "metric"),
    (lambda text: text.replace("log,", "scale,"), "stands twice"),
]


def refused(grid, square, out, complaint):
    before = out.read_bytes()
    with pytest.raises(ValueError, match=complaint) as caught:
        grid([square()], [0, 1, 2], out=out)
    assert str(out) in str(caught.value)
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(("spoil", "complaint"), DAMAGE)
@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_foreign_or_damaged_file_is_refused_and_left_alone(
    name, spoil, complaint, grid, square, tmp_path
):
    out = tmp_path / name
    opener = gzip.open if name.endswith(".gz") else open
    grid([square()], [0, 1], out=out)
    with opener(out, "rt", encoding="utf-8", newline="") as stream:
        text = stream.read()
    with opener(out, "wt", encoding="utf-8", newline="") as stream:
        stream.write(spoil(text))
    refused(grid, square, out, complaint)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],  # cut short
        lambda data: data[:-8] + bytes(8),  # the checksum is of something else
        lambda data: data[:20] + bytes(20) + data[40:],
        lambda data: gzip.decompress(data),  # not compressed at all
        lambda data: b"",
    ],
)
def test_a_damaged_compressed_file_is_refused_and_left_alone(spoil, grid, square, tmp_path):
    out = tmp_path / "out.csv.gz"
    grid([square()], [0, 1], out=out)
    out.write_bytes(spoil(out.read_bytes()))
    refused(grid, square, out, "reading failed|missing")


def test_a_folder_in_place_of_the_file_and_a_file_in_place_of_the_folder(grid, square, tmp_path):
    (tmp_path / "folder.csv.gz").mkdir()
    for folder in (tmp_path, tmp_path / "folder.csv.gz"):
        with pytest.raises(ValueError, match="out must be"):
            grid([square()], [0], out=folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        grid([square()], [0], out=tmp_path / "file" / "out.csv")


def row(cell, **more):
    return {"cell": cell, "seconds": "1.0", "seed": "0", "metric": "a", "error": ""} | more


def test_equal_rows_give_an_equal_file_whatever_its_name_and_time(tmp_path):
    keys = ["0" * 16, "1" * 16]
    one, other = (Ledger(tmp_path / name) for name in ("one.csv.gz", "other.csv.gz"))
    for key in keys:
        one.record(key, [row(key, value="0.5")], order=keys)
    os.utime(one.path, (0, 0))
    for key in reversed(keys):
        other.record(key, [row(key, value="0.5")], order=keys)
    assert one.path.read_bytes() == other.path.read_bytes()
    plain = Ledger(tmp_path / "plain.csv")
    plain.cells = one.cells
    plain.save(order=keys)
    assert gzip.decompress(one.path.read_bytes()) == plain.path.read_bytes()
    header = one.path.read_bytes()[:10]
    assert header == b"\x1f\x8b\x08\x00" + bytes(4) + b"\x02\xff"  # no name, no time, level 9


def test_a_new_column_is_an_empty_place_in_the_old_rows(tmp_path):
    ledger = Ledger(tmp_path / "rows.csv.gz")
    ledger.record("0" * 16, [row("0" * 16, value="1")], order=[])
    ledger.record("1" * 16, [row("1" * 16, value="", amount="0.5")], order=[])
    assert [found["amount"] for found in read_rows(ledger.path)] == ["", "0.5"]


def test_columns_are_numbers_truths_or_text():
    texts = {
        "count": ["1", "2"],
        "holed": ["1", ""],
        "size": ["0.1", "Infinity"],
        "flag": ["true", "False"],
        "maybe": ["true", ""],
        "amount": ["0.5", "published"],
        "commit": ["12", "34"],  # text whatever it looks like
        "empty": ["", ""],
    }
    frame = to_frame(
        [dict(zip(texts, pair, strict=True)) for pair in zip(*texts.values(), strict=True)]
    )
    assert frame["count"].tolist() == [1, 2]
    assert frame["count"].dtype == int
    assert frame.holed.isna().tolist() == [False, True]
    assert frame["size"].tolist() == [0.1, float("inf")]
    assert frame.flag.tolist() == [True, False]
    assert frame.maybe[0] is True
    assert frame.amount.tolist() == ["0.5", "published"]
    assert frame.commit.tolist() == ["12", "34"]
    assert frame["empty"].isna().all()
