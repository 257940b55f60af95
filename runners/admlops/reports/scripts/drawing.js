"use strict";
/* Draws packed samples: from above, and over a camera's picture. `packing.py` says how boxes and lines are packed;
   classes and shapes are those of `bird_eye.py` and `camera_view.py`, so one style sheet serves both. */
admlops.drawing = (() => {
  const BOX_FIELDS = 13;
  const QUATERNION_SCALE = 32767;
  const CONFIDENCE_SCALE = 10000;
  const NOT_JUDGED = -2;
  const DEFAULT_CUT = 0.3;
  const NEAR_M = 0.5;
  const FARTHEST_PIXEL = 1e5;
  const EGO = { front: 3.11, back: 0.97, half: 0.865 };
  const EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
  const unpacked = new Map();

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new Int16Array(bytes.buffer);
  }

  function readBoxes(text, classes) {
    const numbers = unpack(text);
    const boxes = [];
    for (let at = 0; at + BOX_FIELDS <= numbers.length; at += BOX_FIELDS) {
      const [label, ...rest] = numbers.subarray(at, at + BOX_FIELDS);
      const lengths = rest.slice(0, 6).map((value) => value / 100);
      boxes.push({
        label: classes[label],
        center: lengths.slice(0, 3),
        size: lengths.slice(3),
        rotation: rest.slice(6, 10).map((value) => value / QUATERNION_SCALE),
        confidence: rest[10] / CONFIDENCE_SCALE,
        partner: rest[11],
      });
    }
    return boxes;
  }

  function readLines(text, classes) {
    const numbers = unpack(text);
    const lines = [];
    for (let at = 0; at < numbers.length; ) {
      const [label, confidence, partner, count] = numbers.subarray(at, at + 4);
      const points = [];
      for (let point = 0; point < count; point += 1) {
        const from = at + 4 + 3 * point;
        points.push([numbers[from] / 100, numbers[from + 1] / 100, numbers[from + 2] / 100]);
      }
      lines.push({ label: classes[label], confidence: confidence / CONFIDENCE_SCALE, partner, points });
      at += 4 + 3 * count;
    }
    return lines;
  }

  /** A sample's ground truth, or a run's predictions of it, read once. */
  function read(text, kind, classes) {
    if (!text) return [];
    const key = kind + text;
    if (!unpacked.has(key)) unpacked.set(key, (kind === "boxes" ? readBoxes : readLines)(text, classes));
    return unpacked.get(key);
  }

  /** What a run got right and wrong in a sample: every box and line with its role, at the least confidence `cut` of all
      classes, or at each class's operating point where `cut` is null. Null where the run has no outputs. */
  function judge(packed, sample, number, cut) {
    const own = sample.runs[number];
    if (!own) return null;
    const [boxes, lines, tasks] = own;
    const points = packed.runs[number].cut;
    const things = [];
    const doesLine = (line) => tasks.includes(line.label === "lane" ? "l" : "m");
    pair("boxes", "detection", boxes, () => tasks.includes("b"));
    pair("lines", "map", lines, doesLine);
    return things;

    function pair(kind, task, text, isAsked) {
      const limit = (label) => cut ?? points[task]?.[label] ?? DEFAULT_CUT;
      const shown = read(text, kind, packed.classes).filter((one) => one.confidence >= limit(one.label));
      const found = new Set(shown.map((one) => one.partner));
      read(sample.truth[kind === "boxes" ? 0 : 1], kind, packed.classes).forEach((one, index) => {
        if (isAsked(one)) things.push({ ...one, kind, isTruth: true, role: found.has(index) ? "hit" : "miss" });
      });
      for (const one of shown) {
        const role = one.partner === NOT_JUDGED ? "unknown" : one.partner < 0 ? "false_alarm" : "hit";
        things.push({ ...one, kind, isTruth: false, role });
      }
    }
  }

  function count(things, className = "") {
    const counts = { hit: 0, miss: 0, false_alarm: 0 };
    for (const one of things) {
      if (className && one.label !== className) continue;
      if (one.role in counts && !(one.role === "hit" && one.isTruth)) counts[one.role] += 1;
    }
    return counts;
  }

  function rotationOf([w, x, y, z]) {
    return [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ];
  }

  /** Front left, front right, back right, back left at the bottom, then at the top. */
  function cornersOf(box) {
    const turn = rotationOf(box.rotation);
    const [width, length, height] = box.size;
    return [-1, 1].flatMap((up) =>
      [[1, 1], [1, -1], [-1, -1], [-1, 1]].map(([ahead, left]) => {
        const own = [(ahead * length) / 2, (left * width) / 2, (up * height) / 2];
        return turn.map((row, axis) => box.center[axis] + row[0] * own[0] + row[1] * own[1] + row[2] * own[2]);
      }),
    );
  }

  function describe(one) {
    const said = { miss: ", missed", false_alarm: ", false alarm" }[one.role] ?? "";
    const confidence = one.isTruth ? "" : ` ${one.confidence.toFixed(2)}`;
    return admlops.escape(`${one.label}${confidence}, ${one.isTruth ? "ground truth" : "prediction"}${said}`);
  }

  function layers(things, draw) {
    const group = (name, isTruth) =>
      `<g class="${name}">${things.filter((one) => one.isTruth === isTruth).map(draw).join("")}</g>`;
    return group("truth", true) + group("prediction", false);
  }

  /** Ego x forward is up and y left is left. */
  function pathFromAbove(points) {
    return "M" + points.map(([x, y]) => `${(-y).toFixed(2)} ${(-x).toFixed(2)}`).join("L");
  }

  function fromAbove(things, { range, label }) {
    const size = 0.045 * range;
    const circles = [10, 20, 30, 40, 50].filter((radius) => radius < range);
    const rings = circles.map((radius) => `<circle class="grid" r="${radius}"/>`).join("");
    const names = circles
      .map((radius) => `<text x="${(0.71 * radius).toFixed(1)}" y="${(0.71 * radius + size).toFixed(1)}">${radius} m</text>`)
      .join("");
    const lanes = things.some((one) => one.label === "lane");
    const [ahead, aside] = lanes ? [50, 25] : [30, 15];
    const hasLines = things.some((one) => one.kind === "lines");
    const frame = `<path class="grid window" d="M${-aside} ${-ahead}H${aside}V${ahead}H${-aside}Z"/>`;
    const ego = `<path class="ego" d="M0 ${-EGO.front - 0.6}L${EGO.half} ${-EGO.front + 1}V${EGO.back}H${-EGO.half}V${-EGO.front + 1}Z"/>`;
    const drawn = layers(things, (one) => {
      const kind = one.kind === "lines" ? (one.label === "boundary" ? "line boundary" : "line marking") : "box";
      let path;
      if (one.kind === "lines") path = pathFromAbove(one.points);
      else {
        const corners = cornersOf(one).slice(0, 4);
        const nose = [0, 1].map((axis) => (corners[0][axis] + corners[1][axis]) / 2);
        path = `${pathFromAbove(corners)}Z${pathFromAbove([one.center, nose])}`;
      }
      return `<path class="${kind} ${one.role}" d="${path}"><title>${describe(one)}</title></path>`;
    });
    const box = `${-range} ${-range} ${2 * range} ${2 * range}`;
    return (
      `<svg class="bird-eye" role="img" aria-label="${admlops.escape(label)}" viewBox="${box}" font-size="${size}">` +
      `${rings}${hasLines ? frame : ""}${ego}${drawn}${names}</svg>`
    );
  }

  function overCamera(things, camera, label) {
    const [width, height] = camera.size;
    const drawn = layers(things, (one) => {
      const segments = one.kind === "lines" ? one.points.slice(1).map((point, i) => [one.points[i], point]) : edges(one);
      const pieces = segments.map((ends) => project(camera.matrix, ends)).filter(Boolean);
      if (!isOnPicture(pieces, width, height)) return "";
      const path = pieces.map(([a, b]) => `M${a[0].toFixed(0)} ${a[1].toFixed(0)}L${b[0].toFixed(0)} ${b[1].toFixed(0)}`);
      const kind = one.kind === "lines" ? "line" : "wire";
      return `<path class="${kind} ${one.role}" d="${path.join("")}"><title>${describe(one)}</title></path>`;
    });
    return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${admlops.escape(label)}">${drawn}</svg>`;
  }

  function edges(box) {
    const corners = cornersOf(box);
    return EDGES.map(([from, to]) => [corners[from], corners[to]]);
  }

  /** The part of a segment in front of the camera, in pixels, or null. */
  function project(matrix, ends) {
    let [a, b] = ends.map(([x, y, z]) =>
      [0, 4, 8].map((row) => matrix[row] * x + matrix[row + 1] * y + matrix[row + 2] * z + matrix[row + 3]),
    );
    if (a[2] < NEAR_M && b[2] < NEAR_M) return null;
    if (a[2] < NEAR_M) a = cutAt(a, b);
    else if (b[2] < NEAR_M) b = cutAt(b, a);
    return [a, b].map((point) => [point[0] / point[2], point[1] / point[2]]);
  }

  function cutAt(behind, ahead) {
    const share = (NEAR_M - behind[2]) / (ahead[2] - behind[2]);
    return behind.map((value, axis) => value + share * (ahead[axis] - value));
  }

  function isOnPicture(pieces, width, height) {
    const points = pieces.flat();
    if (!points.length || points.some(([u, v]) => Math.max(Math.abs(u), Math.abs(v)) > FARTHEST_PIXEL)) return false;
    const [us, vs] = [points.map((point) => point[0]), points.map((point) => point[1])];
    return Math.max(...us) > 0 && Math.max(...vs) > 0 && Math.min(...us) < width && Math.min(...vs) < height;
  }

  return { judge, count, fromAbove, overCamera };
})();
