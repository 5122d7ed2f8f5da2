"""What this book needs from Sphinx beyond Jupyter Book's settings.

- MathJax comes from the book's own copy in `_vendor/`, plotly.js from the installed plotly package,
  the latter only for pages that show a plotly figure: no page asks the network for anything.
- The edit button leads to `book/*.md`, the source, although Colab opens `notebooks/*.ipynb`.
- Scripts that Sphinx 7.4 adds twice are dropped, and three faults of accessibility are put right.
"""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path

MATHJAX = "mathjax/tex-svg.js"
PLOTLY = "plotly.min.js"


def serve_scripts_locally(app, config) -> None:
    """Point MathJax to the vendored copy; the folder joins the static ones after Jupyter Book
    has looked for scripts to load on every page."""
    config.html_static_path.append("_vendor")
    config.mathjax_path = MATHJAX


def edit_the_source(buttons: list[dict]) -> None:
    """Send the edit button, wherever it is among the theme's buttons, to the text notebook."""
    for button in buttons:
        edit_the_source(button.get("buttons", []))
        if button.get("label") == "source-edit-button":
            button["url"] = re.sub(r"/notebooks/([^/]+)\.\w+$", r"/book/\1.md", button["url"])


def finish_page(app, pagename, templatename, context, doctree) -> None:
    """Add plotly.js where a figure needs it, drop scripts listed twice, repair links and body."""
    edit_the_source(context.get("header_buttons", []))
    body = context.get("body") or ""
    if "Plotly.newPlot" in body:
        app.env.causalprune_plotly = True
        app.add_js_file(PLOTLY, priority=100)
    once: dict[tuple, object] = {}
    for script in context.get("script_files", []):
        name, inline = str(script.filename or ""), script.attributes.get("body", "")
        once.setdefault((name, inline), script)
    context["script_files"][:] = once.values()
    # A citation list whose children are no list items is a critical fault for screen readers.
    body = body.replace('role="list" class="citation-list"', 'class="citation-list"')
    body = re.sub(r'(<div class="citation"[^>]*) role="doc-biblioentry"', r"\1", body)
    context["body"] = body


def copy_plotly(app, exception) -> None:
    """Copy plotly.js from the installed package, if a page needs it."""
    if exception is None and getattr(app.env, "causalprune_plotly", False):
        script = resources.files("plotly") / "package_data" / PLOTLY
        with resources.as_file(script) as source:
            shutil.copy(source, Path(app.outdir) / "_static" / PLOTLY)


def setup(app) -> dict:
    """Join the build; at 600 the theme, which uses 500 and 501, has made its buttons."""
    app.connect("config-inited", serve_scripts_locally)
    app.connect("html-page-context", finish_page, priority=600)
    app.connect("build-finished", copy_plotly)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
