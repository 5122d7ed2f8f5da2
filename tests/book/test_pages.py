"""Every page of the built book in a real browser: light and dark, wide and as narrow as a phone."""

from __future__ import annotations

import re

import pytest
import yaml
from browsing import EVERY_LOOK, LOOKS, chromium, faults, served
from tiny_book import REPOSITORY

HTML = REPOSITORY / "_build" / "html"
PAGES = sorted(path.name for path in HTML.glob("*.html")) or ["index.html"]
LINKS = re.compile(r'href="([^"]+)"')
CLASSES = re.compile(r'<(?!span)\w+[^>]*? class="([^"]*)"')


def _kinds(page: str) -> set[str]:
    """The classes of the elements in a page's article; words in colours of code are none."""
    if not (HTML / page).exists():
        return set()
    article = (HTML / page).read_text().partition("<article")[2].partition("</article>")[0]
    return {name for names in CLASSES.findall(article) for name in names.split()}


def _that_have_everything() -> set[str]:
    """Few pages that together have every kind of element of the book."""
    kinds = {page: _kinds(page) for page in PAGES}
    missing, chosen = set().union(*kinds.values()), set()
    while missing:
        fullest = max(PAGES, key=lambda page: len(kinds[page] & missing))
        chosen.add(fullest)
        missing -= kinds[fullest]
    return chosen


IN_EVERY_LOOK = _that_have_everything()


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def address(built_book):
    with served(built_book.html) as one:
        yield one


@pytest.mark.alone(seconds=10)
@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES)
def test_page_is_sound_in_light_and_dark_wide_and_narrow(browser, address, page):
    looks = EVERY_LOOK if page in IN_EVERY_LOOK else LOOKS
    found = {
        f"{look.scheme}, {look.width} px": wrong
        for look in looks
        if (wrong := faults(browser, address, page, look))
    }
    assert found == {}


@pytest.mark.browser
def test_the_search_finds_a_word_offline(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=pruning")
    page.wait_for_selector("#search-results li")
    page.close()


def _links(prefix: str) -> list[str]:
    """The parts after `prefix` of all links of all pages that begin with it."""
    links = [link for page in HTML.glob("*.html") for link in LINKS.findall(page.read_text())]
    return sorted({link.removeprefix(prefix) for link in links if link.startswith(prefix)})


def test_buttons_lead_to_files_that_exist(built_book):
    repository = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["repository"]
    path = repository["url"].removeprefix("https://github.com/")
    colab = _links(f"https://colab.research.google.com/github/{path}/blob/{repository['branch']}/")
    edits = _links(f"{repository['url']}/edit/{repository['branch']}/")
    wanted = {f"notebooks/{p.name}" for p in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert set(colab) == wanted
    assert set(edits) == {f"book/{p.name}" for p in (REPOSITORY / "book").glob("*.md")}
    assert not [link for link in _links("https://colab.") if path not in link]
