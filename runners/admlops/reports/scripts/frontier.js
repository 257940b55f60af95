"use strict";
// Shows the rows that every chosen value fits, and those that another way beats only where they are asked for.
(() => {
  const selects = [...document.querySelectorAll("select[data-filter]")];
  const beaten = document.getElementById("beaten");
  const rows = [...document.querySelectorAll("tr[data-run]")];
  const count = document.getElementById("count");
  const show = () => {
    let shown = 0;
    for (const row of rows) {
      const fits = selects.every((one) => one.value === "" || row.dataset[one.dataset.filter] === one.value);
      row.hidden = !fits || (!beaten.checked && row.classList.contains("beaten"));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} ways`;
  };
  for (const one of [...selects, beaten]) one.addEventListener("change", show);
  show();
})();
