"use strict";
/* Walks through the packed samples: which of them, one after the other or played, at any confidence. Whatever is chosen
   stands in the page's address. Others may draw the same sample: `admlops:sample` on `document` says which. */
(() => {
  const source = document.getElementById("packed");
  const root = document.getElementById("explorer");
  if (!source || !root) return;
  const packed = JSON.parse(source.textContent);
  if (!packed.samples.length) return;
  const { judge, count, fromAbove, overCamera } = admlops.drawing;
  const make = admlops.make;
  const control = Object.fromEntries([...root.querySelectorAll("[name]")].map((one) => [one.name, one]));
  const several = packed.runs.length > 1;
  const numbers = packed.runs.map((_, number) => number);
  const DASHES = ["solid", "dashed", "dashed", "dotted", "dashed", "solid", "dashed"];
  const DEFAULTS = { scene: "", class: "", errors: "", of: "", least: "1", order: "", range: "50", over: "0" };
  const CHECKED = ["truth", "prediction", "boxes", "lines"];
  const view = { at: 0, shown: [], tallies: [], timer: 0 };

  fillChoices();
  root.hidden = false;
  for (const card of document.querySelectorAll("details.sample")) card.open = false; // the walk begins with the first
  read();
  admlops.onAddress(() => {
    read();
    root.scrollIntoView();
  });
  if (admlops.get("sample")) root.scrollIntoView();
  for (const form of root.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  root.addEventListener("input", onInput);
  control.previous.addEventListener("click", () => step(-1));
  control.next.addEventListener("click", () => step(1));
  control.play.addEventListener("click", () => (view.timer ? stop() : play()));

  function fillChoices() {
    const scenes = [...new Set(packed.samples.map((sample) => sample.scene))];
    for (const scene of scenes) control.scene.append(new Option(scene, scene));
    for (const name of packed.classes) control.class.append(new Option(name.replaceAll("_", " "), name));
    packed.runs.forEach((run, number) => {
      control.of.append(new Option(run.label, number));
      control.over.append(new Option(run.label, number));
    });
    const isEvaluated = packed.runs.some((run) => run.evaluated);
    if (!isEvaluated) control.points.checked = false;
    control.points.disabled = !isEvaluated;
  }

  function onInput(event) {
    const name = event.target.name;
    if (name === "cut") control.points.checked = false;
    if (name === "at") select(view.shown[Number(control.at.value)]);
    else if (name === "speed" && view.timer) play();
    else if (["scene", "class", "errors", "of", "least", "order"].includes(name)) {
      filter();
      select(view.shown.includes(view.at) ? view.at : (view.shown[0] ?? view.at));
    } else {
      if (name === "points" || name === "cut") filter();
      select(view.at);
    }
    write();
  }

  function read() {
    for (const [name, usual] of Object.entries(DEFAULTS)) {
      control[name].value = admlops.get(name, usual);
      if (control[name].selectedIndex === -1) control[name].value = usual;
    }
    for (const name of CHECKED) control[name].checked = admlops.get(name) !== "0";
    const cut = Number.parseFloat(admlops.get("cut"));
    if (Number.isFinite(cut)) control.cut.value = cut;
    control.points.checked = !Number.isFinite(cut) && !control.points.disabled;
    filter();
    const asked = packed.samples.findIndex((sample) => sample.token === admlops.get("sample"));
    const card = document.querySelector("details.sample");
    const worst = packed.samples.findIndex((sample) => sample.token === card?.dataset.token);
    const usual = view.shown.includes(worst) ? worst : (view.shown[0] ?? 0);
    select(asked >= 0 ? asked : usual);
  }

  function write() {
    for (const [name, usual] of Object.entries(DEFAULTS)) {
      admlops.set(name, control[name].value === usual ? "" : control[name].value);
    }
    for (const name of CHECKED) admlops.set(name, control[name].checked ? "" : "0");
    admlops.set("cut", control.points.checked || control.points.disabled ? "" : control.cut.value);
    admlops.set("sample", packed.samples[view.at].token);
  }

  function cut() {
    return control.points.checked ? null : Number(control.cut.value);
  }

  /** Count every sample's errors at the confidence chosen, and keep those that are asked for. */
  function filter() {
    const className = control.class.value;
    view.tallies = packed.samples.map((sample) =>
      numbers.map((number) => {
        const things = judge(packed, sample, number, cut());
        return things && { ...count(things, className), seen: isSeen(things, className) };
      }),
    );
    const of = control.of.value === "" ? numbers : [Number(control.of.value)];
    const least = Math.max(1, Number(control.least.value) || 1);
    view.shown = packed.samples.flatMap((sample, index) => {
      const own = of.map((number) => view.tallies[index][number]).filter(Boolean);
      const isScene = !control.scene.value || sample.scene === control.scene.value;
      const isClass = !className || own.some((tally) => tally.seen);
      const isWrong = !control.errors.value || own.some((tally) => wrong(tally) >= least);
      return isScene && isClass && isWrong ? [index] : [];
    });
    if (control.order.value) view.shown.sort((a, b) => cost(b, of) - cost(a, of) || a - b);
    drawStrip();
    const said = view.shown.length === packed.samples.length ? "all" : view.shown.length;
    const beside = packed.total > packed.samples.length ? ` (of ${packed.total}; the others are not in this file)` : "";
    control.found.value = `${said} of ${packed.samples.length} samples${beside}`;
    control.at.max = Math.max(0, view.shown.length - 1);
    for (const name of ["at", "previous", "next", "play"]) control[name].disabled = !view.shown.length;
    if (!view.shown.length) stop();
  }

  function isSeen(things, className) {
    return things.some((one) => !className || one.label === className);
  }

  function wrong(tally) {
    const kind = control.errors.value;
    return (kind === "f" ? 0 : tally.miss) + (kind === "m" ? 0 : tally.false_alarm);
  }

  function cost(index, of) {
    return of.reduce((sum, number) => sum + (view.tallies[index][number] ? wrong(view.tallies[index][number]) : 0), 0);
  }

  /** A row a run, a cell a sample: the darker, the more errors. */
  function drawStrip() {
    const shown = new Set(view.shown);
    const total = packed.samples.length;
    const values = view.tallies.map((row) => row.map((tally) => tally && wrong(tally)));
    const most = Math.max(1, ...values.flat().filter((value) => value !== null));
    const starts = packed.samples.flatMap((one, i) => (i && one.scene !== packed.samples[i - 1].scene ? [i] : []));
    const borders = starts.map((at) => `<path class="border" d="M${at} 0V1"/>`).join("");
    const strip = document.getElementById("strip");
    strip.replaceChildren();
    for (const number of numbers) {
      const cells = packed.samples.map((sample, index) => {
        const value = values[index][number];
        const kind = value === null ? (sample.failed.includes(number) ? "failed" : "absent") : "";
        const place = `x="${index}" width="1" height="1" class="${kind}${shown.has(index) ? "" : " dim"}"`;
        return `<rect ${place} style="--s:${value === null ? 1 : (value / most).toFixed(3)}"/>`;
      });
      const label = admlops.escape(`Errors of ${packed.runs[number].label} by sample, at most ${most}`);
      const row = make("div", { className: "strip-row" });
      row.innerHTML =
        `<span class="name">${several ? key(number) : ""}${admlops.escape(packed.runs[number].label)}</span>` +
        `<svg viewBox="0 0 ${total} 1" preserveAspectRatio="none" role="img" aria-label="${label}">` +
        `${cells.join("")}${borders}<path class="here" d=""/></svg>`;
      row.lastChild.addEventListener("click", (event) => {
        const box = row.lastChild.getBoundingClientRect();
        const index = Math.floor((total * (event.clientX - box.left)) / box.width);
        select(Math.max(0, Math.min(total - 1, index)));
        write();
      });
      strip.append(row);
    }
    strip.append(make("p", { className: "quiet" }, `Errors of a sample: none (light) to ${most} (dark). Click to open it.`));
  }

  function select(index) {
    view.at = index;
    const sample = packed.samples[index];
    const place = view.shown.indexOf(index);
    if (place >= 0) control.at.value = place;
    control["cut-value"].value = control.points.checked ? "best F1" : Number(control.cut.value).toFixed(2);
    const title = `${sample.scene}, key frame ${sample.index}`;
    control.at.setAttribute("aria-valuetext", title);
    const heading = document.getElementById("stage-title");
    heading.replaceChildren(`${title} `, make("code", {}, sample.token));
    for (const mark of document.querySelectorAll("#strip .here")) mark.setAttribute("d", `M${index + 0.5} 0V1`);
    draw(sample, title);
    const detail = { packed, sample, cut: cut() };
    document.dispatchEvent(new CustomEvent("admlops:sample", { detail }));
  }

  function draw(sample, title) {
    const stage = document.getElementById("stage");
    const drawn = numbers.map((number) => {
      const figure = make("figure");
      const things = judge(packed, sample, number, cut());
      const label = packed.runs[number].label;
      figure.innerHTML = things
        ? fromAbove(things.filter(isDrawn), { range: Number(control.range.value), label: `${title} by ${label}, from above` })
        : `<p class="nothing">${sample.failed.includes(number) ? "failed" : "not in this run"}</p>`;
      const said = things ? sayCounts(count(things, control.class.value)) : "";
      const caption = make("figcaption");
      caption.innerHTML = `${several ? key(number) : ""}<strong>${admlops.escape(label)}</strong> ${said}`;
      figure.append(caption);
      return figure;
    });
    stage.replaceChildren(...drawn);
    const pictures = drawCameras(sample, title);
    document.getElementById("stage-cameras").replaceChildren(...pictures);
    root.classList.toggle("single", !several);
    root.classList.toggle("many", packed.runs.length > 3);
    document.getElementById("stage-cameras").hidden = !pictures.length;
  }

  function isDrawn(one) {
    const className = control.class.value;
    return (
      control[one.isTruth ? "truth" : "prediction"].checked &&
      control[one.kind].checked &&
      (!className || one.label === className)
    );
  }

  function sayCounts(counts) {
    const alarms = counts.false_alarm === 1 ? "false alarm" : "false alarms";
    return `${counts.hit} right, ${counts.miss} missed, ${counts.false_alarm} ${alarms}`;
  }

  /** All cameras where a card has them, else the front one. */
  function drawCameras(sample, title) {
    const number = Number(control.over.value);
    const things = (judge(packed, sample, number, cut()) ?? []).filter(isDrawn);
    const card = [...document.querySelectorAll("details.sample")].find((one) => one.dataset.token === sample.token);
    const whole = card ? [...card.querySelectorAll("img[data-camera]")] : [];
    const pictures = whole.map((image) => ({
      name: image.dataset.camera,
      source: image.src,
      camera: sample.cameras[image.dataset.camera],
      size: [image.getAttribute("width"), image.getAttribute("height")],
    }));
    if (!pictures.length && sample.front) {
      const { name, jpeg, size } = sample.front;
      pictures.push({ name, source: `data:image/jpeg;base64,${jpeg}`, camera: sample.front, size });
    }
    return pictures.map(({ name, source, camera, size }) => {
      const said = name.replace(/^CAM_/, "").replaceAll("_", " ").toLowerCase();
      const image = make("img", { src: source, alt: `Camera ${said}, ${title}`, width: size[0], height: size[1] });
      const frame = make("div", { className: "frame" }, image);
      const label = `${packed.runs[number].label} over camera ${said}`;
      if (camera?.matrix) frame.insertAdjacentHTML("beforeend", overCamera(things, camera, label));
      const caption = make("figcaption", {}, said);
      return make("figure", { className: "camera" }, frame, caption);
    });
  }

  function step(by) {
    if (!view.shown.length) return;
    const place = view.shown.indexOf(view.at);
    select(view.shown[(place + by + view.shown.length) % view.shown.length]);
    write();
  }

  function play() {
    clearInterval(view.timer);
    view.timer = setInterval(() => step(1), 1000 / Number(control.speed.value));
    control.play.textContent = "⏸ Pause";
  }

  function stop() {
    clearInterval(view.timer);
    view.timer = 0;
    control.play.textContent = "▶ Play";
  }

  function key(number) {
    const style = `--c:var(--series-${(number % 7) + 1});border-top-style:${DASHES[number % 7]}`;
    return `<span class="key" style="${style}"></span>`;
  }
})();
