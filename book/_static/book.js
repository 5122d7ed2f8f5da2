// What scrolls sideways must be reachable by keyboard: give it a tab stop while it overflows, none else.
(() => {
  const boxes = ".pst-scrollable-table-container, div.output.text_html, div.math, .highlight > pre";
  const mark = () => {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else if (!box.matches("pre")) box.removeAttribute("tabindex");
    }
  };
  window.addEventListener("load", () => {
    mark();
    window.MathJax?.startup?.promise?.then(mark);
    const sizes = new ResizeObserver(mark);
    for (const box of document.querySelectorAll(boxes)) sizes.observe(box);
  });
})();
