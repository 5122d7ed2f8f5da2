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

// Tables marked as sortable: a press on a heading sorts by it, a search and a choice of words filter.
(() => {
  const key = (row, column) => row.cells[column].dataset.order ?? row.cells[column].textContent;
  const words = (a, b) => a.localeCompare(b);
  const numbers = (a, b) => a - b;
  const enhance = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const turn = head.ariaSort === "ascending" ? -1 : 1;
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
        const filled = rows.filter((row) => key(row, column) !== "");
        const compare = filled.some((row) => isNaN(key(row, column))) ? words : numbers;
        filled.sort((a, b) => turn * compare(key(a, column), key(b, column)));
        rows.splice(0, rows.length, ...filled, ...rows.filter((row) => key(row, column) === ""));
        body.append(...rows);
        show();
      });
    });
    const search = document.createElement("input");
    search.type = "search";
    const label = document.createElement("label");
    label.className = "table-filter";
    label.append("Show rows with ", search);
    const count = document.createElement("output");
    label.append(" ", count);
    const all = document.createElement("button");
    all.type = "button";
    let limit = 40;
    const show = () => {
      const sought = search.value.toLowerCase().split(/\s+/);
      const fits = rows.filter((row) => sought.every((word) => row.textContent.toLowerCase().includes(word)));
      const shown = new Set(fits.slice(0, limit));
      for (const row of rows) row.hidden = !shown.has(row);
      count.textContent = `${shown.size} of ${fits.length}`;
      all.hidden = shown.size === fits.length;
      all.textContent = `Show all ${fits.length}`;
    };
    search.addEventListener("input", show);
    all.addEventListener("click", () => { limit = rows.length; show(); });
    table.before(label);
    table.after(all);
    window.addEventListener("beforeprint", () => { limit = rows.length; show(); });
    show();
  };
  window.addEventListener("load", () => document.querySelectorAll("table.sortable").forEach(enhance));
})();
