"use strict";
/* Tables of class "data": sorted by a click on a heading, columns hidden, rows filtered. A heading that stands for a
   column has its number in data-col; a cell may have its number in data-v. On paper everything is shown again. */
(() => {
  const FEW_ROWS = 2;
  const COMPARISON = /^(<=|>=|<|>|=)\s*(-?[\d.]+(?:e-?\d+)?)$/i;
  const RANGE = /^(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)$/;

  for (const table of document.querySelectorAll("table.data[id]")) enhance(table);
  addEventListener("click", (event) => closeMenus(event.target));
  addEventListener("keydown", (event) => event.key === "Escape" && closeMenus(null));

  /** Close the menus of columns but the one that holds `target`. */
  function closeMenus(target) {
    for (const menu of document.querySelectorAll(".columns[open]")) if (!menu.contains(target)) menu.open = false;
  }

  function enhance(table) {
    const heads = [...table.querySelectorAll("thead [data-col]")].sort((a, b) => a.dataset.col - b.dataset.col);
    const rows = [...table.tBodies[0].rows];
    if (rows.length < FEW_ROWS && heads.length < 6) return;
    const view = { sorted: -1, falling: false, hidden: new Set(), filters: new Map() };
    const groups = findGroups(table, heads);
    const names = nameColumns(heads, groups);
    const tools = { boxes: [], inputs: [] };

    if (rows.length >= FEW_ROWS) heads.forEach((head, column) => addSortButton(head, () => sortBy(column)));
    addTools();
    read();
    admlops.onAddress(read);
    matchMedia("print").addEventListener("change", (media) => apply(media.matches));

    function addTools() {
      const bar = admlops.make("div", { className: "tools" });
      const list = admlops.make("div", { className: "menu" });
      names.forEach((name, column) => {
        const box = admlops.make("input", { type: "checkbox", checked: true });
        box.disabled = column === 0;
        box.addEventListener("change", () => {
          view.hidden[box.checked ? "delete" : "add"](column);
          update();
        });
        tools.boxes.push(box);
        list.append(admlops.make("label", {}, box, ` ${name}`));
      });
      bar.append(admlops.make("details", { className: "columns" }, admlops.make("summary", {}, "Columns"), list));
      if (rows.length >= FEW_ROWS) bar.append(makeFilterButton());
      table.closest(".scroll").before(bar);
    }

    function makeFilterButton() {
      const line = admlops.make("tr", { className: "filters", hidden: true });
      names.forEach((name, column) => {
        const input = admlops.make("input", { type: "search", "aria-label": `Filter ${name}`, size: 5 });
        input.title = "a part of the text, or for numbers >0.3, <=50, 0.2..0.4";
        input.addEventListener("input", () => {
          if (input.value.trim()) view.filters.set(column, input.value.trim());
          else view.filters.delete(column);
          update();
        });
        tools.inputs.push(input);
        line.append(admlops.make("td", {}, input));
      });
      table.tHead.append(line);
      const button = admlops.make("button", { type: "button", "aria-pressed": "false" }, "Filter");
      button.addEventListener("click", () => {
        line.hidden = !line.hidden;
        button.setAttribute("aria-pressed", String(!line.hidden));
      });
      tools.openFilters = () => {
        line.hidden = false;
        button.setAttribute("aria-pressed", "true");
      };
      return button;
    }

    function sortBy(column) {
      const startsFalling = rows.some((row) => isNumber(row.cells[column]));
      if (view.sorted !== column) Object.assign(view, { sorted: column, falling: startsFalling });
      else if (view.falling === startsFalling) view.falling = !startsFalling;
      else view.sorted = -1;
      update();
    }

    function update() {
      const key = table.id;
      admlops.set(`${key}.sort`, view.sorted < 0 ? "" : `${view.sorted}${view.falling ? "d" : "a"}`);
      admlops.set(`${key}.hide`, [...view.hidden].sort((a, b) => a - b).join(","));
      admlops.set(`${key}.filter`, view.filters.size ? JSON.stringify([...view.filters]) : "");
      apply(false);
    }

    function read() {
      const sort = /^(\d+)([ad])$/.exec(admlops.get(`${table.id}.sort`));
      view.sorted = sort && Number(sort[1]) < heads.length ? Number(sort[1]) : -1;
      view.falling = Boolean(sort) && sort[2] === "d";
      const hidden = admlops.get(`${table.id}.hide`).split(",").filter(Boolean).map(Number);
      view.hidden = new Set(hidden.filter((column) => column > 0 && column < heads.length));
      view.filters = new Map(readFilters(admlops.get(`${table.id}.filter`)).filter(([column]) => column in heads));
      tools.boxes.forEach((box, column) => (box.checked = !view.hidden.has(column)));
      tools.inputs.forEach((input, column) => (input.value = view.filters.get(column) ?? ""));
      if (view.filters.size && tools.openFilters) tools.openFilters();
      apply(false);
    }

    /** Show the table as `view` says, or all of it for paper. */
    function apply(whole) {
      const order = rows.map((row, index) => ({ row, index }));
      if (view.sorted >= 0) order.sort((a, b) => compare(a.row, b.row) || a.index - b.index);
      table.tBodies[0].append(...order.map((entry) => entry.row));
      heads.forEach((head, column) => {
        const isSorted = column === view.sorted;
        if (isSorted) head.setAttribute("aria-sort", view.falling ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      const isOff = (column) => !whole && view.hidden.has(column);
      heads.forEach((head, column) => head.classList.toggle("off", isOff(column)));
      for (const row of [...rows, ...table.querySelectorAll("tr.filters")]) {
        [...row.cells].forEach((cell, column) => cell.classList.toggle("off", isOff(column)));
      }
      for (const row of rows) row.classList.toggle("off", !whole && ![...view.filters].every((one) => passes(row, one)));
      for (const { head, columns } of groups) {
        const shown = columns.filter((column) => !isOff(column)).length;
        head.classList.toggle("off", shown === 0);
        head.colSpan = Math.max(1, shown);
      }
    }

    function compare(a, b) {
      const [left, right] = [a.cells[view.sorted], b.cells[view.sorted]];
      const sign = view.falling ? -1 : 1;
      if (isNumber(left) && isNumber(right)) return sign * (numberOf(left) - numberOf(right));
      if (isEmpty(left) || isEmpty(right)) return isEmpty(left) - isEmpty(right); // what is missing stands last
      return sign * textOf(left).localeCompare(textOf(right));
    }
  }

  function passes(row, [column, wanted]) {
    const cell = row.cells[column];
    const compared = COMPARISON.exec(wanted);
    const within = RANGE.exec(wanted);
    if (!compared && !within) return textOf(cell).toLowerCase().includes(wanted.toLowerCase());
    if (!isNumber(cell)) return false;
    const value = numberOf(cell);
    if (within) return value >= Number(within[1]) && value <= Number(within[2]);
    const limit = Number(compared[2]);
    const checks = { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit };
    return checks[compared[1]] ?? value === limit;
  }

  function readFilters(text) {
    try {
      const found = JSON.parse(text || "[]");
      return Array.isArray(found) ? found.filter((one) => Array.isArray(one) && typeof one[1] === "string") : [];
    } catch {
      return [];
    }
  }

  /** The headings over several columns, with the columns below each. */
  function findGroups(table, heads) {
    const taken = new Set(heads.filter((head) => head.rowSpan > 1).map((head) => Number(head.dataset.col)));
    let next = 0;
    return [...table.querySelectorAll("thead th.group")].map((head) => {
      const columns = [];
      while (columns.length < head.colSpan && next < heads.length) {
        if (!taken.has(next)) columns.push(next);
        next += 1;
      }
      return { head, columns };
    });
  }

  function addSortButton(head, onClick) {
    const button = admlops.make("button", { type: "button", className: "sort" });
    button.append(...head.childNodes);
    button.addEventListener("click", onClick);
    head.append(button);
  }

  /** The columns' headings; where two are the same, with the heading over them. */
  function nameColumns(heads, groups) {
    const short = heads.map(nameOf);
    return short.map((name, column) => {
      const group = groups.find((one) => one.columns.includes(column));
      const isUnique = short.filter((other) => other === name).length === 1;
      return isUnique || !group ? name : `${name}, ${nameOf(group.head)}`;
    });
  }

  function nameOf(head) {
    return head.textContent.replace(/[↑↓]/g, "").replace(/\s+/g, " ").trim();
  }

  function textOf(cell) {
    return cell.textContent.replace(/\s+/g, " ").trim();
  }

  function isEmpty(cell) {
    return textOf(cell) === "—";
  }

  function isNumber(cell) {
    return "v" in cell.dataset || (cell.classList.contains("n") && /^[+-]?[\d.]/.test(textOf(cell)));
  }

  function numberOf(cell) {
    return "v" in cell.dataset ? Number(cell.dataset.v) : parseFloat(textOf(cell).replace(/\u2009/g, ""));
  }
})();
