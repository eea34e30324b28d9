"use strict";
(() => {
  const table = document.getElementById("sites");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const filter = document.getElementById("filter");
  const kind = document.getElementById("kind");
  const count = document.getElementById("count");
  const about = document.getElementById("about");
  const cells = Array.from(document.querySelectorAll(".cell"));

  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === "" ? null : Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };
  // What was not measured comes last, whichever way the others are sorted.
  const compare = (one, other, down) => {
    if (one === null || other === null) return (one === null) - (other === null);
    const both = typeof one === typeof other;
    const [a, b] = both ? [one, other] : [String(one), String(other)];
    const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  };
  const sortBy = (header) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = header.cellIndex;
    rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), down));
    body.append(...rows);
  };
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.dataset.text.toLowerCase();
      const fits = kind.value === "" || kind.value === row.dataset.kind;
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} sites`;
  };
  const tell = (cell) => {
    const [name, ...rest] = cell.dataset.about.split("\n");
    const strong = document.createElement("strong");
    strong.className = "name";
    strong.textContent = name;
    about.replaceChildren(strong);
    for (const line of rest) about.append(document.createElement("br"), line);
  };
  // One stop of the tabulator for the whole map; the arrow keys go from site to site.
  const step = (event) => {
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const at = cells.indexOf(event.currentTarget);
    let next = at + (moves[event.key] || 0);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = cells.length - 1;
    if (next === at || next < 0 || next >= cells.length) return;
    event.preventDefault();
    cells[at].tabIndex = -1;
    cells[next].tabIndex = 0;
    cells[next].focus();
  };

  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button").addEventListener("click", () => sortBy(header));
  }
  filter.addEventListener("input", show);
  kind.addEventListener("change", show);
  cells.forEach((cell, index) => {
    cell.tabIndex = index === 0 ? 0 : -1;
    cell.addEventListener("focus", () => tell(cell));
    cell.addEventListener("mouseenter", () => tell(cell));
    cell.addEventListener("keydown", step);
    cell.addEventListener("click", () => {
      filter.value = "";
      kind.value = "";
      show();
    });
  });
  show();
})();
