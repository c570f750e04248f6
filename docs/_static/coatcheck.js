"use strict";

// A table of few columns can be shown as cards on a phone; a wider one scrolls in its box. The styles are in
// coatcheck.css. Roles say again what `display: block` takes away from screen readers.
const MOST_COLUMNS_OF_CARDS = 4;

const roles = (table) => {
  table.setAttribute("role", "table");
  table.querySelectorAll("thead, tbody").forEach((part) => part.setAttribute("role", "rowgroup"));
  table.querySelectorAll("tr").forEach((row) => row.setAttribute("role", "row"));
  table.querySelectorAll("th").forEach((cell) => {
    if (cell.textContent.trim()) cell.setAttribute("role", "columnheader");
  });
  table.querySelectorAll("td").forEach((cell) => cell.setAttribute("role", "cell"));
};

const arrange = (table) => {
  const heads = [...table.querySelectorAll("th")];
  heads.filter((cell) => !cell.textContent.trim()).forEach((cell) => cell.setAttribute("role", "presentation"));
  if (heads.every((cell) => !cell.textContent.trim())) table.classList.add("headless");
  const columns = [...table.rows[0].cells].map((cell) => cell.textContent.trim());
  if (columns.length > MOST_COLUMNS_OF_CARDS) {
    table.closest(".table-wrapper")?.classList.add("wide");
    return;
  }
  table.classList.add("cards");
  roles(table);
  for (const row of table.tBodies[0].rows) {
    [...row.cells].forEach((cell, at) => {
      if (!cell.textContent.trim()) cell.classList.add("empty");
      else if (columns[at]) cell.dataset.label = columns[at];
    });
  }
};

// What scrolls must be reachable by the keyboard. All boxes are measured before one is changed, for one layout.
const reach = () => {
  const boxes = [...document.querySelectorAll(".table-wrapper, .highlight pre")];
  const scroll = boxes.map((box) => box.scrollWidth > box.clientWidth);
  boxes.forEach((box, at) => {
    if (scroll[at]) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", box.matches("pre") ? "Code" : "Table");
    } else if (box.hasAttribute("tabindex")) {
      ["tabindex", "role", "aria-label"].forEach((attribute) => box.removeAttribute(attribute));
    }
  });
};

// What the theme's navigation leaves out for screen readers.
const name = () => {
  document.querySelectorAll(".sidebar-tree .caption").forEach((caption) => caption.setAttribute("aria-level", "2"));
  document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Pages");
  document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "On this page");
};

document.addEventListener("DOMContentLoaded", () => {
  name();
  document.querySelectorAll("article table.docutils").forEach(arrange);
  reach();
});
window.addEventListener("resize", reach);
