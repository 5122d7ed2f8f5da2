"""What Sphinx does not check in the built pages, with the page and the element that is wrong."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

IMAGES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
LOADING_LINKS = ("stylesheet", "preload", "icon", "manifest", "modulepreload")


class _Page(HTMLParser):
    """Collects what is wrong with one page."""

    def __init__(self, path: Path, site: Path) -> None:
        super().__init__()
        self.path, self.site, self.wrong = path, site, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = dict(attrs)
        if tag == "img":
            self._alt(have)
        loaded = have.get(LOADS.get(tag, ""))
        if tag == "link" and set((have.get("rel") or "").split()) & set(LOADING_LINKS):
            loaded = have.get("href")
        if loaded and urlsplit(loaded).netloc:
            self.wrong.append(f"<{tag}> is loaded from the network: {loaded}")
        target = loaded or (have.get("href") if tag == "a" else None)
        if target:
            self._target(tag, target)

    def _alt(self, have: dict[str, str | None]) -> None:
        """A figure without a text; docutils writes the file's name when the author wrote none."""
        alt, src = (have.get("alt") or "").strip(), have.get("src") or ""
        if "alt" not in have or alt.lower().endswith(IMAGES) or (not alt and "_images/" in src):
            self.wrong.append(f"image without alternative text: {src[:100]}")

    def _target(self, tag: str, target: str) -> None:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not parts.path:
            return
        path = (self.path.parent / unquote(parts.path)).resolve()
        if not path.exists() and path.is_relative_to(self.site):
            self.wrong.append(f"<{tag}> names a file that does not exist: {target}")


def check_site(site: Path) -> list[str]:
    """All findings, as `page: what is wrong`."""
    site, found = site.resolve(), []
    for path in sorted(site.rglob("*.html")):
        if "_static" in path.relative_to(site).parts:
            continue
        page = _Page(path, site)
        page.feed(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {wrong}" for wrong in page.wrong]
    return found
