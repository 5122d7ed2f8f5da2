"""What a build looks for in finished pages, and what it writes into them."""

from __future__ import annotations

import pytest
from pipeline.assemble import link
from pipeline.checks import check_site
from pipeline.glance import memory, minutes, under_title


@pytest.mark.parametrize(
    ("element", "said"),
    [
        ('<img src="_images/a.png">', "image without alternative text: _images/a.png"),
        ('<img src="_images/a.png" alt="">', "image without alternative text"),
        ('<img src="_images/a.png" alt="_images/a.png">', "image without alternative text"),
        ('<script src="https://cdn.example/x.js"></script>', "<script> is loaded from the network"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "<link> is loaded from the network"),
        ('<a href="gone.html#part">there</a>', "<a> names a file that does not exist: gone.html"),
    ],
)
def test_faults_of_a_page_are_found(tmp_path, element, said):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "a.png").touch()
    (tmp_path / "page.html").write_text(f"<html><body>{element}</body></html>")
    (finding,) = check_site(tmp_path)
    assert finding.startswith(f"page.html: {said}")


def test_sound_elements_are_left_alone(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "page.html").write_text(
        '<img src="a.png" alt="A line that rises"><a href="https://example.org">out</a>'
        '<link rel="canonical" href="https://example.org/page.html">'
        '<a href="page.html#here">here</a><a href="#top">top</a><script>let x = 1</script>'
    )
    assert check_site(tmp_path) == []


def test_links_between_pages_follow_notebooks():
    text = "[a](01-a.md), [b](01-a.md#part), [c](notes.md), `01-a.md`"
    assert link(text, ["01-a"]) == "[a](01-a.ipynb), [b](01-a.ipynb#part), [c](notes.md), `01-a.md`"


def test_the_box_goes_under_the_title_and_needs_one():
    assert under_title("(label)=\n# Title\n\nText", "BOX") == "(label)=\n# Title\nBOX\n\nText"
    assert under_title("## Not the title", "BOX") is None


def test_minutes_and_memory_are_readable():
    assert [minutes(s) for s in (2, 6, 90)] == ["under 0.1", "0.1", "1.5"]
    assert [memory(b) for b in (5 * 2**20, 3 * 2**29)] == ["5 MB", "1.5 GB"]
