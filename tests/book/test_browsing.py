"""What the looks at a page find: one poor text among many alike, whatever hides its likeness."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import LOOKS, chromium, faults, served

PAGE = """<!doctype html><html lang="en"><head><title>Planted</title><style>
html[data-theme=dark] body { background: #111; color: #eee; } span, td { color: inherit; }
html[data-theme=dark] .dim { color: #333; } .faint { color: #ccc; }</style><script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const show = () => document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
dark.onchange = show; show();</script></head><body><main><h1>Planted</h1>%s</main></body></html>"""
FINE = "<span>fine</span> <span>fine</span>"
POOR = {
    "light": f'<pre>{FINE} <span class="faint">poor</span></pre>',
    "dark": f'<pre>{FINE} <span class="dim">poor</span> {FINE}</pre>',
    "after one that is hidden": '<pre><span class="faint" hidden>no</span>'
    ' <span class="faint">poor</span></pre>',
    "after one that is blank": '<pre><span class="faint"> </span>'
    '<span class="faint">poor</span></pre>',
    "before another background": f'<pre>{FINE} <b style="background: #222">'
    "<span>poor</span></b></pre>",
    "faded": f'<pre>{FINE} <span style="opacity: 0.2">poor</span></pre>',
    "the like of one out of sight": '<div style="overflow: auto; width: 200px" tabindex="0"><table>'
    f'<tr>{"<td>1000000</td>" * 20}<td class="faint">far</td></tr>'
    '<tr><td class="faint">poor</td></tr></table></div>',
}


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.browser
@pytest.mark.parametrize("planted", [*POOR, None])
def test_a_poor_contrast_is_found_and_none_where_none_is(browser, tmp_path, planted):
    text = POOR.get(planted, f"<pre>{FINE}</pre>")
    (tmp_path / "page.html").write_text(PAGE % text)
    (tmp_path / "favicon.ico").touch()
    with served(tmp_path) as address:
        found = faults(browser, address, "page.html", LOOKS[0])
    assert all("color-contrast" in fault for fault in found)
    assert bool(found) == (planted is not None)


SORTABLE = """<table class="sortable"><thead><tr><th>name</th><th>number</th></tr></thead><tbody>%s
</tbody></table>"""
NUMBERS = {"b": "10", "a": "9", "none": "", "D": "-2.5", "c": "1e-3"}


@pytest.mark.browser
def test_a_sortable_table_sorts_numbers_and_words_keeps_gaps_last_and_filters(browser, tmp_path):
    lines = "".join(
        f'<tr><td>{name}</td><td data-order="{number}">{number}</td></tr>'
        for name, number in NUMBERS.items()
    )
    script = Path(__file__).parents[2] / "book" / "_static" / "book.js"
    table = SORTABLE % lines + f"<script>{script.read_text(encoding='utf-8')}</script>"
    (tmp_path / "page.html").write_text(PAGE % table)
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())

    def shown() -> str:
        cells = page.locator("tbody tr:not([hidden]) td:first-child")
        return " ".join(cells.all_inner_texts())

    name, number = page.get_by_role("button", name="name"), page.get_by_role("button", name="num")
    number.press("Enter")
    assert shown() == "D c a b none"
    assert page.locator("th[aria-sort=ascending]").inner_text() == "number"
    number.press("Enter")
    assert shown() == "b a c D none"
    name.press("Enter")
    assert shown() == "a b c D none"
    page.get_by_role("searchbox").fill("E-3")
    assert shown() == "c"
    page.close()


@pytest.mark.browser
def test_on_paper_a_table_shows_the_rows_and_columns_that_it_scrolls_on_a_screen(browser, tmp_path):
    style = Path(__file__).parents[2] / "book" / "_static" / "book.css"
    line = "<tr>" + "<td>some words of a cell</td>" * 8 + "</tr>"
    box = f'<div class="paper-table" style="max-height: 9rem"><table>{line * 30}</table></div>'
    box = f'<article class="bd-article"><style>.paper-table {{ overflow: auto; }}</style>{box}'
    text = f"<style>{style.read_text(encoding='utf-8')}</style>{box}</article>"
    (tmp_path / "page.html").write_text(PAGE % text)
    page = browser.new_page(viewport={"width": 718, "height": 1016})
    page.goto((tmp_path / "page.html").as_uri())
    hidden = """box => [box.scrollHeight - box.clientHeight, box.scrollWidth - box.clientWidth]"""
    there = page.locator(".paper-table")
    assert min(there.evaluate(hidden)) > 0
    page.emulate_media(media="print")
    assert there.evaluate(hidden) == [0, 0]
    page.close()
