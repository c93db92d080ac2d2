"use strict";

(() => {
  const root = document.documentElement;
  const themes = ["automatic", "light", "dark"];
  const button = document.getElementById("theme");
  const remember = (theme) => {
    try {
      localStorage.setItem("tenon-report-theme", theme);
    } catch {
      // Files opened from disk may have no storage: the choice then holds until the page is closed.
    }
  };
  const recall = () => {
    try {
      return localStorage.getItem("tenon-report-theme");
    } catch {
      return null;
    }
  };
  const apply = (theme) => {
    if (theme === "automatic") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
    button.textContent = "Theme: " + theme;
  };
  let theme = themes.includes(recall()) ? recall() : "automatic";
  apply(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    apply(theme);
    remember(theme);
  });

  // Columns sort by the number of a cell, else by its text; cells without either stay last.
  const compare = (column, sign) => (a, b) => {
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.sort !== undefined ? Number(cell.dataset.sort) : cell.textContent === "–" ? null : cell.textContent;
    };
    const x = key(a), y = key(b);
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * String(x).localeCompare(String(y), undefined, {numeric: true});
  };
  for (const table of document.querySelectorAll("table:not(.matrix)")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.append(...head.childNodes);
      head.append(sorter);
      sorter.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(table.tBodies[0].rows).sort(compare(column, down ? -1 : 1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Titles of marks at once, and on touch screens too.
  const tip = document.getElementById("tip");
  const tips = new WeakMap();
  for (const title of document.querySelectorAll("svg title")) {
    tips.set(title.parentElement, title.textContent);
    title.parentElement.setAttribute("data-tip", "");
    title.remove();
  }
  document.addEventListener("pointerover", (event) => {
    const mark = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    tip.hidden = mark === null;
    if (mark === null) return;
    tip.textContent = tips.get(mark);
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 12, innerWidth - box.width - 8)) + "px";
    tip.style.top = (event.clientY + box.height + 24 > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16) + "px";
  });
  document.addEventListener("scroll", () => { tip.hidden = true; }, {passive: true});
  for (const details of document.querySelectorAll("details")) addEventListener("beforeprint", () => { details.open = true; });
})();
