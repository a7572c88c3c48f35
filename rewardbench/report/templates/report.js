// Only comfort: sorting a table by a column and showing one scorer or label. The page reads the same without it.
"use strict";
(() => {
  const key = (cell) => {
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return Number.isNaN(number) ? text : number;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    [...table.tHead.rows[table.tHead.rows.length - 1].cells].forEach((head, column) => {
      if (!head.dataset.sortable) return;
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
      button.textContent = "↕";
      head.append("\u00a0", button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        for (const other of head.parentNode.querySelectorAll("button")) other.textContent = "↕";
        button.textContent = down ? "↓" : "↑";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
        rows.sort(([a], [b]) => {
          const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
          return typeof a === typeof b && down ? -order : order;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }
  const bar = document.getElementById("filter");
  if (bar) {
    bar.hidden = false;
    const input = bar.querySelector("input");
    const found = bar.querySelector("output");
    const items = [...document.querySelectorAll("[data-row]")];
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const item of items) {
        const name = item.dataset.row.toLowerCase();
        item.hidden = !words.every((word) => name.includes(word));
      }
      const rows = document.querySelectorAll("#numbers tbody tr");
      found.textContent = words.length ? `${[...rows].filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
    });
  }
})();
