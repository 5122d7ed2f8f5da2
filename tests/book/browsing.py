"""Opens pages of a built site in headless Chromium and tells what is wrong with each of them."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Without preload, or axe itself asks for stylesheets at addresses that the page does not use.
AXE = {"resultTypes": ["violations"], "preload": False}
# Contrast, most of axe's time, is judged once for each look of text in a block of code or a table.
CONTRAST = {"rules": [{"id": "color-contrast", "selector": ":not([data-same-look])"}]}
SERIOUS = ("serious", "critical")

# What axe is asked: everything; what depends on colours; or what does not.
COLOUR_RULES = ("color-contrast", "link-in-text-block")
EVERY_RULE = {}
COLOURS = {"runOnly": list(COLOUR_RULES)}
NO_COLOURS = {"rules": {rule: {"enabled": False} for rule in COLOUR_RULES}}


@dataclass(frozen=True)
class Look:
    """How a page is opened, and what axe is asked about it."""

    scheme: str
    width: int  # px
    rules: dict
    turned_dark: bool = False  # whether it is turned dark afterwards, and its colours judged again


# Text is judged in both colours on a screen, where no table hides its columns; the rest of a page
# is one in both colours, and is judged at both widths.
LOOKS = [Look("light", 1280, EVERY_RULE, turned_dark=True), Look("light", 390, NO_COLOURS)]
EVERY_LOOK = [Look(s, width, EVERY_RULE) for s in ("light", "dark") for width in (1280, 390)]

# True once MathJax, if the page has it, is loaded: before, `window.MathJax` holds settings alone.
MATH_HERE = """() => !document.querySelector('script[src*="mathjax"]')
    || Boolean(window.MathJax?.startup?.promise)"""
# Resolves when it has set every formula.
MATH_DONE = "() => window.MathJax?.startup ? MathJax.startup.promise.then(() => true) : true"
BARE_IMAGES = """() => [...document.querySelectorAll('img')].filter(
    i => !i.hasAttribute('alt') || /\\.(png|svg|jpe?g|gif)$/i.test(i.alt)).map(i => i.src)"""
TEX_ERRORS = "() => document.querySelectorAll('mjx-merror, [data-mjx-error]').length"
UNSET_TEX = """() => [...document.querySelectorAll('.math')].filter(
    m => !m.querySelector('mjx-container')).map(m => m.textContent.slice(0, 60))"""
# A formula between dollars that a reader sees as it was typed.
RAW_TEX = r"""() => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, found =>
        found.parentElement.closest('pre, code, script, style, mjx-container, .math, .plotly')
            ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const raw = [];
    while (walk.nextNode()) raw.push(...(walk.currentNode.data.match(/\$[^$\n]{1,60}\$/g) ?? []));
    return raw; }"""
# Marks the texts in code and tables that look like one further left: the same colours before the
# same background, in the same size. Takes the outlines of letters out of formulas: axe asks of them
# nothing, at length.
SPARE_AXE = """() => {
    document.querySelectorAll('mjx-container svg :is(path, use)').forEach(shape => shape.remove());
    document.querySelectorAll('[data-same-look]').forEach(text => delete text.dataset.sameLook);
    const left = new Map(), behind = new Map(), says = element => element.checkVisibility()
        && [...element.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
    for (const block of document.querySelectorAll('pre, table')) {
        const texts = new Map();
        behind.set(block, '');
        for (const element of block.querySelectorAll('*')) {
            const style = getComputedStyle(element), { backgroundColor, backgroundImage } = style;
            behind.set(element, [behind.get(element.parentElement), backgroundColor,
                backgroundImage, style.opacity].join());
            if (says(element)) texts.set(element, [behind.get(element), style.color,
                style.fontSize, style.fontWeight, style.textShadow].join());
            left.set(element, element.getBoundingClientRect().left);
        }
        const seen = new Set();
        for (const element of [...texts.keys()].sort((a, b) => left.get(a) - left.get(b))) {
            if (seen.has(texts.get(element))) element.dataset.sameLook = '';
            seen.add(texts.get(element));
        }
    } }"""
AT_ONCE = "*, ::before, ::after { transition: none !important; }"
IS_DARK = "() => document.documentElement.dataset.theme === 'dark'"
OVERFLOW = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""


def executable() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder` on a free local port; yield its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium that asks nothing of the network by itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def faults(browser: Browser, address: str, page_name: str, look: Look) -> list[str]:
    """All that is wrong with one page in one look; an empty list is a good page."""
    context = browser.new_context(
        color_scheme=look.scheme,
        viewport={"width": look.width, "height": 900},
        reduced_motion="reduce",
    )
    try:
        page, found = context.new_page(), []
        _listen(page, address, found)
        page.goto(f"{address}/{page_name}", wait_until="networkidle")
        page.wait_for_function(MATH_HERE)
        page.evaluate(MATH_DONE)
        if page.evaluate(TEX_ERRORS):
            found.append(f"{page.evaluate(TEX_ERRORS)} TeX errors")
        found += [f"TeX that nobody set: {tex}" for tex in page.evaluate(UNSET_TEX)]
        found += [f"TeX shown as it was typed: {tex}" for tex in page.evaluate(RAW_TEX)]
        found += [f"image without alternative text: {src}" for src in page.evaluate(BARE_IMAGES)]
        if page.evaluate(OVERFLOW) > 0:
            found.append(f"the page is {page.evaluate(OVERFLOW)} px wider than the screen")
        found += _axe(page, look.rules)
        if look.turned_dark:
            page.add_style_tag(content=AT_ONCE)
            page.emulate_media(color_scheme="dark")
            page.wait_for_function(IS_DARK)
            found += [f"turned dark: {fault}" for fault in _axe(page, COLOURS)]
        return found
    finally:
        context.close()


def _listen(page: Page, address: str, found: list[str]) -> None:
    page.on(
        "console", lambda m: m.type == "error" and found.append(f"console error: {m.text[:200]}")
    )
    page.on("pageerror", lambda error: found.append(f"script error: {str(error)[:200]}"))
    page.on("requestfailed", lambda r: found.append(f"failed request: {r.url}"))
    page.on("response", lambda r: r.status >= 400 and found.append(f"answer {r.status}: {r.url}"))
    page.on(
        "request",
        lambda r: (
            r.url.startswith((address, "data:", "blob:"))
            or found.append(f"external request: {r.url}")
        ),
    )


def _axe(page: Page, rules: dict) -> list[str]:
    page.evaluate(SPARE_AXE)
    page.evaluate(Axe().axe_script)
    page.evaluate("contrast => axe.configure(contrast)", CONTRAST)
    violations = page.evaluate("async options => (await axe.run(options)).violations", AXE | rules)
    return [
        f"axe, {v['impact']}: {v['id']} at {v['nodes'][0]['target']}: {v['nodes'][0]['html'][:160]}"
        for v in violations
        if v["impact"] in SERIOUS
    ]
