"use strict";
/* Pictures open large: a click on a picture, or on the button in its corner, shows it over the page. The arrow keys go
   to its neighbours, Escape closes. */
(() => {
  const WITHIN = ".camera, .from-above figure, .stage figure, figure.chart-box:not(.wide)";
  const make = admlops.make;
  const dialog = make("dialog", { className: "large", "aria-label": "Picture" });
  const place = make("div", { className: "place" });
  const caption = make("p", { className: "caption" });
  const previous = makeButton("◀", "Previous picture", () => show(-1));
  const next = makeButton("▶", "Next picture", () => show(1));
  const close = makeButton("✕", "Close", () => dialog.close());
  dialog.append(place, make("div", { className: "bar" }, previous, caption, next, close));
  document.body.append(dialog);
  let open = null;

  document.addEventListener("click", (event) => {
    const figure = event.target.closest?.(WITHIN);
    if (figure && !event.target.closest("a, input, dialog, summary")) openLarge(figure);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(-1);
    if (event.key === "ArrowRight") show(1);
  });
  addButtons(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.nodeType === 1) addButtons(node);
  }).observe(document.getElementById("main"), { childList: true, subtree: true });

  function addButtons(within) {
    const figures = [...(within.matches?.(WITHIN) ? [within] : []), ...within.querySelectorAll(WITHIN)];
    for (const figure of figures) {
      if (figure.querySelector(".open-large") || !figure.querySelector("svg, img")) continue;
      const said = figure.querySelector("figcaption")?.textContent.trim() || "this picture";
      const button = make("button", { type: "button", className: "open-large", "aria-label": `Open large: ${said}` }, "⤢");
      figure.append(button);
    }
  }

  function openLarge(figure) {
    open = figure;
    const shown = figure.querySelector(".frame, svg, img").cloneNode(true);
    place.replaceChildren(shown);
    place.className = `place ${figure.classList.contains("camera") ? "camera" : ""}`;
    if (figure.closest(".sample")) followCard(figure.closest(".sample"));
    caption.textContent = figure.querySelector("figcaption")?.textContent ?? "";
    previous.disabled = next.disabled = neighbours().length < 2;
    if (!dialog.open) dialog.showModal();
  }

  /** Hide in the large picture what the card's own choices hide. */
  function followCard(card) {
    for (const layer of ["truth", "prediction"]) {
      const box = card.querySelector(`.toggle-${layer}`);
      if (box && !box.checked) for (const group of place.querySelectorAll(`g.${layer}`)) group.remove();
    }
    const picked = [...card.querySelectorAll(".pick")].findIndex((one) => one.checked);
    if (picked < 0) return;
    for (const overlay of place.querySelectorAll("[class^='over-']")) {
      if (!overlay.classList.contains(`over-${picked}`)) overlay.remove();
    }
  }

  function neighbours() {
    return [...open.parentElement.children].filter((one) => one.matches(WITHIN) && one.querySelector("svg, img"));
  }

  function show(by) {
    const all = neighbours();
    const at = all.indexOf(open);
    if (at >= 0) openLarge(all[(at + by + all.length) % all.length]);
  }

  function makeButton(text, label, onClick) {
    const button = make("button", { type: "button", "aria-label": label }, text);
    button.addEventListener("click", onClick);
    return button;
  }
})();
