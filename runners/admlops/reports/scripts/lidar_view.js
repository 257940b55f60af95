// The report's LiDAR view: draws what reports/lidar_view.py embeds, in the ego frame (x forward, y left, z up, metres).
//
// It draws when something changes, never in a loop. Other scripts of the page set what it shows by events on `document`:
// `admlops:confidence`, whose detail is the least confidence, null for each class's own; `admlops:sample`, whose detail
// has a `sample` with its `token`, and as `cut` the least confidence or null.
(() => {
  "use strict";

  const root = document.getElementById("lidar-view");
  if (!root) return;
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const say = (text) => {
    find("fallback").textContent = text;
    find("fallback").hidden = false;
    find("viewer").hidden = true;
  };

  const COLOURS = { truth: 0x35e0a5, miss: 0xff8a3d, prediction: 0x63c3ff, false_alarm: 0xff86da };
  const BACKGROUND = 0x0f1318;
  const GROUND = { ring: 0x36414e, axis: 0x55626f, ego: 0xe8ecf1 };
  // Muted, so that boxes stand out; the ground is dim.
  const RAMP = [[0x33, 0x40, 0x50], [0x5d, 0x74, 0x90], [0xa9, 0xbd, 0xd2], [0xff, 0xf3, 0xc4]];
  const HEIGHT_M = [-0.5, 3.5];
  const RINGS_M = [10, 20, 30, 40, 50];
  const PRESETS = {
    behind: { from: [-26, 0, 15], to: [9, 0, 0] },
    top: { from: [-0.05, 0, 82], to: [0, 0, 0] },
    side: { from: [4, -46, 16], to: [4, 0, 0] },
  };
  const STEP = { turn: 0.1, move_m: 2, zoom: 1.15 };
  const LOWEST_EYE = Math.PI / 2 - 0.03;
  const PICK_PIXELS = 26;
  // Corners as front left, front right, back right, back left, at the bottom, then at the top.
  const CORNERS = [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [-1, 1, -1], [1, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]];
  const EDGES = [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
  const FACES = [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]];

  const data = JSON.parse(document.getElementById("lidar-data").textContent);

  function decode(text, Kind) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  }

  // three.js takes the colours of points as linear light, and writes sRGB.
  const linear = (byte) => (byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
  const SHADES = Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (RAMP.length - 1);
    const low = Math.min(Math.floor(place), RAMP.length - 2);
    return RAMP[low].map((byte, k) => linear(byte + (place - low) * (RAMP[low + 1][k] - byte)));
  });

  function boxCorners(pose) {
    const [x, y, z, width, length, height, qw, qx, qy, qz] = pose;
    const turn = new THREE.Quaternion(qx, qy, qz, qw).normalize();
    return CORNERS.map(([ahead, left, up]) => {
      const corner = new THREE.Vector3((ahead * length) / 2, (left * width) / 2, (up * height) / 2);
      return corner.applyQuaternion(turn).add(new THREE.Vector3(x, y, z));
    });
  }

  // The edges, and a line from the middle of the bottom to that of its front edge: where it heads.
  function boxSegments(corners) {
    const found = EDGES.flatMap(([a, b]) => [corners[a], corners[b]]);
    const middle = corners[0].clone().add(corners[2]).multiplyScalar(0.5);
    const front = corners[0].clone().add(corners[1]).multiplyScalar(0.5);
    return [...found, middle, front];
  }

  function lineSegments(flat) {
    const found = [];
    for (let i = 0; i + 5 < flat.length; i += 3) {
      found.push(new THREE.Vector3(flat[i], flat[i + 1], flat[i + 2] + 0.03));
      found.push(new THREE.Vector3(flat[i + 3], flat[i + 4], flat[i + 5] + 0.03));
    }
    return found;
  }

  const flatten = (vectors) => vectors.flatMap((one) => [one.x, one.y, one.z]);
  const layerOf = (thing) => (thing.truth ? "truth" : "prediction");
  const colourOf = (thing) => COLOURS[thing.role === "miss" || thing.role === "false_alarm" ? thing.role : layerOf(thing)];

  class View {
    constructor(canvas) {
      this.canvas = canvas;
      this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
      this.renderer.setClearColor(BACKGROUND);
      this.scene = new THREE.Scene();
      this.camera = new THREE.PerspectiveCamera(50, 1, 0.1, 400);
      this.camera.up.set(0, 0, 1);
      this.controls = new THREE.OrbitControls(this.camera, canvas);
      this.controls.maxPolarAngle = LOWEST_EYE;
      this.controls.minDistance = 3;
      this.controls.maxDistance = 160;
      this.controls.enableZoom = false;
      this.controls.addEventListener("change", () => this.draw());
      this.content = new THREE.Group();
      this.scene.add(this.drawGround(), this.content);
      this.state = { scene: data.scenes[0], truth: true, prediction: true, lines: true, colour: "height", least: null };
      this.asked = false;
    }

    draw() {
      if (this.asked) return;
      this.asked = true;
      requestAnimationFrame(() => {
        this.asked = false;
        this.renderer.render(this.scene, this.camera);
      });
    }

    resize() {
      const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
      if (!width || !height) return;
      this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
      this.renderer.setSize(width, height, false);
      this.camera.aspect = width / height;
      // A narrow picture shows as much to each side as a wide one.
      this.camera.fov = Math.min(85, (2 * Math.atan(Math.tan(0.436) * Math.max(1, 1.5 / this.camera.aspect)) * 180) / Math.PI);
      this.camera.updateProjectionMatrix();
      this.draw();
    }

    look(name) {
      const { from, to } = PRESETS[name];
      this.camera.position.set(...from);
      this.controls.target.set(...to);
      this.controls.update();
      this.draw();
    }

    // By angles about the target [rad]; the arrow keys' way.
    turn(azimuth, polar) {
      const offset = this.camera.position.clone().sub(this.controls.target);
      const length = offset.length();
      const around = Math.atan2(offset.y, offset.x) + azimuth;
      const down = Math.min(Math.max(Math.acos(offset.z / length) + polar, 0.001), LOWEST_EYE);
      const flat = length * Math.sin(down);
      offset.set(flat * Math.cos(around), flat * Math.sin(around), length * Math.cos(down));
      this.camera.position.copy(this.controls.target).add(offset);
      this.controls.update();
      this.draw();
    }

    // Ahead and to the right of the eye, along the ground [m].
    move(ahead, right) {
      const offset = this.controls.target.clone().sub(this.camera.position);
      const around = Math.atan2(offset.y, offset.x);
      const step = new THREE.Vector3(
        ahead * Math.cos(around) + right * Math.sin(around),
        ahead * Math.sin(around) - right * Math.cos(around),
        0,
      );
      this.camera.position.add(step);
      this.controls.target.add(step);
      this.controls.update();
      this.draw();
    }

    zoom(factor) {
      const offset = this.camera.position.clone().sub(this.controls.target);
      const length = Math.min(Math.max(offset.length() * factor, this.controls.minDistance), this.controls.maxDistance);
      this.camera.position.copy(this.controls.target).add(offset.setLength(length));
      this.controls.update();
      this.draw();
    }

    drawGround() {
      const ground = new THREE.Group();
      const rings = [];
      for (const radius of RINGS_M) {
        for (let i = 0; i < 96; i++) {
          for (const step of [i, i + 1]) {
            const angle = (step / 96) * 2 * Math.PI;
            rings.push(radius * Math.cos(angle), radius * Math.sin(angle), 0);
          }
        }
      }
      ground.add(thinLines(rings, GROUND.ring), thinLines([0, 0, 0, 50, 0, 0], GROUND.axis));
      const { length, width, height, rear } = data.ego;
      const pose = [length / 2 - rear, 0, height / 2, width, length, height, 1, 0, 0, 0];
      const corners = boxCorners(pose);
      ground.add(fatLines(flatten(boxSegments(corners)), GROUND.ego, { width: 2 }));
      ground.add(faces([corners], GROUND.ego, 0.35));
      return ground;
    }

    isShown(thing) {
      if (!this.state[layerOf(thing)]) return false;
      if (thing.truth || this.state.least === null || thing.confidence === undefined) return thing.shown;
      return thing.confidence >= this.state.least;
    }

    show(changes) {
      Object.assign(this.state, changes);
      dispose(this.content);
      const { scene, lines } = this.state;
      this.content.add(this.drawPoints(data.sweeps[scene.sweep]));
      const boxes = scene.boxes.filter((one) => this.isShown(one));
      const elements = lines ? scene.lines.filter((one) => this.isShown(one)) : [];
      const corners = new Map(boxes.map((one) => [one, boxCorners(one.pose)]));
      this.addLayer(elements, (one) => lineSegments(one.points), 3);
      this.addLayer(boxes, (one) => boxSegments(corners.get(one)), 2);
      for (const role of ["miss", "false_alarm"]) {
        const wrong = boxes.filter((one) => one.role === role).map((one) => corners.get(one));
        if (wrong.length) this.content.add(faces(wrong, COLOURS[role], 0.2));
      }
      this.shown = { boxes, elements };
      this.draw();
    }

    // One draw call a colour and layer; predictions are dashed, as everywhere on the page.
    addLayer(things, segmentsOf, width) {
      const groups = new Map();
      for (const one of things) {
        const key = `${layerOf(one)} ${colourOf(one)}`;
        if (!groups.has(key)) groups.set(key, []);
        groups.get(key).push(one);
      }
      for (const found of groups.values()) {
        const options = { width, dashed: !found[0].truth };
        this.content.add(fatLines(flatten(found.flatMap(segmentsOf)), colourOf(found[0]), options));
      }
    }

    drawPoints(sweep) {
      if (!sweep.decoded) sweep.decoded = { xyz: decode(sweep.xyz, Int16Array), intensity: decode(sweep.intensity, Uint8Array) };
      const { xyz, intensity } = sweep.decoded;
      const positions = Float32Array.from(xyz, (value) => value / 100);
      const colours = new Float32Array(xyz.length);
      const byHeight = this.state.colour === "height";
      const [low, high] = byHeight ? HEIGHT_M : [0, brightest(intensity)];
      for (let i = 0; i < intensity.length; i++) {
        const value = byHeight ? positions[3 * i + 2] : intensity[i];
        const share = Math.min(Math.max((value - low) / (high - low), 0), 1);
        colours.set(SHADES[Math.round(255 * share)], 3 * i);
      }
      this.range = [low, high];
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
      geometry.setAttribute("color", new THREE.BufferAttribute(colours, 3));
      return new THREE.Points(geometry, new THREE.PointsMaterial({ size: 2, sizeAttenuation: false, vertexColors: true }));
    }

    // The box whose centre is drawn nearest to a place of the picture [pixels], if one is near.
    pick(x, y) {
      const { clientWidth: width, clientHeight: height } = this.canvas;
      let best = null;
      let least = PICK_PIXELS;
      this.camera.updateMatrixWorld(); // the picture may not be drawn anew yet
      for (const one of this.shown.boxes) {
        const centre = new THREE.Vector3(one.pose[0], one.pose[1], one.pose[2]).project(this.camera);
        const gap = Math.hypot(((centre.x + 1) / 2) * width - x, ((1 - centre.y) / 2) * height - y);
        if (centre.z < 1 && gap < least) [best, least] = [one, gap];
      }
      return best;
    }
  }

  // The 98th percentile: a few reflectors would leave all else dark.
  function brightest(intensity) {
    const sorted = Uint8Array.from(intensity).sort();
    return Math.max(1, sorted[Math.floor(0.98 * (sorted.length - 1))]);
  }

  function thinLines(positions, colour) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
    return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: colour }));
  }

  function fatLines(positions, colour, { width, dashed = false }) {
    const geometry = new THREE.LineSegmentsGeometry();
    geometry.setPositions(positions);
    const material = new THREE.LineMaterial({ color: colour, linewidth: width, dashed, dashSize: 0.55, gapSize: 0.35 });
    const lines = new THREE.LineSegments2(geometry, material);
    if (dashed) lines.computeLineDistances();
    return lines;
  }

  function faces(boxes, colour, opacity) {
    const positions = boxes.flatMap((corners) =>
      FACES.flatMap(([a, b, c, d]) => [a, b, c, a, c, d].flatMap((at) => corners[at].toArray())),
    );
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(positions, 3));
    const look = { color: colour, transparent: true, opacity, depthWrite: false, side: THREE.DoubleSide };
    return new THREE.Mesh(geometry, new THREE.MeshBasicMaterial(look));
  }

  function dispose(group) {
    for (const one of [...group.children]) {
      group.remove(one);
      one.geometry.dispose();
      one.material.dispose();
    }
  }

  function describe(view) {
    const { scene, least } = view.state;
    const sweep = data.sweeps[scene.sweep];
    const { boxes, elements } = view.shown;
    const count = (things, truth) => things.filter((one) => one.truth === truth).length;
    const number = (value) => value.toLocaleString("en");
    const from = least === null ? "each class's operating point" : least.toFixed(2);
    return (
      `${number(sweep.count)} of ${number(sweep.total)} points; boxes: ${count(boxes, true)} true, ` +
      `${count(boxes, false)} predicted; map elements: ${count(elements, true)} true, ` +
      `${count(elements, false)} predicted; predictions from ${from} on.`
    );
  }

  function explain(box) {
    const confidence = box.confidence === undefined ? "" : ` ${box.confidence.toFixed(2)}`;
    const role = { hit: "", miss: ", missed", false_alarm: ", false alarm", unknown: ", not judged" }[box.role];
    return `${box.label}${confidence}, ${box.truth ? "ground truth" : "prediction"}${role}`;
  }

  const KEYS = {
    ArrowLeft: [(view) => view.turn(-STEP.turn, 0), (view) => view.move(0, -STEP.move_m)],
    ArrowRight: [(view) => view.turn(STEP.turn, 0), (view) => view.move(0, STEP.move_m)],
    ArrowUp: [(view) => view.turn(0, -STEP.turn), (view) => view.move(STEP.move_m, 0)],
    ArrowDown: [(view) => view.turn(0, STEP.turn), (view) => view.move(-STEP.move_m, 0)],
    "+": [(view) => view.zoom(1 / STEP.zoom)],
    "=": [(view) => view.zoom(1 / STEP.zoom)],
    "-": [(view) => view.zoom(STEP.zoom)],
    1: [(view) => view.look("behind")],
    2: [(view) => view.look("top")],
    3: [(view) => view.look("side")],
  };

  function connect(view) {
    const canvas = view.canvas;
    const update = (changes) => {
      view.show(changes);
      find("status").textContent = describe(view);
      const [low, high] = view.range;
      const unit = view.state.colour === "height" ? " m" : "";
      find("low").textContent = `${low}${unit}`.replace("-", "−");
      find("high").textContent = `${high}${unit}`;
    };
    for (const name of ["truth", "prediction", "lines"]) {
      find(name).addEventListener("change", (event) => update({ [name]: event.target.checked }));
    }
    find("colour").addEventListener("change", (event) => update({ colour: event.target.value }));
    const choose = (index) => {
      find("scene").selectedIndex = index;
      find("previous").disabled = index === 0;
      find("next").disabled = index === data.scenes.length - 1;
      update({ scene: data.scenes[index] });
    };
    find("scene").addEventListener("change", (event) => choose(event.target.selectedIndex));
    find("previous").addEventListener("click", () => choose(find("scene").selectedIndex - 1));
    find("next").addEventListener("click", () => choose(find("scene").selectedIndex + 1));
    const setLeast = (least) => {
      if (least !== null) find("least").value = least;
      find("least-value").textContent = least === null ? "each class's own" : least.toFixed(2);
      find("reset").disabled = least === null;
      update({ least });
    };
    find("least").addEventListener("input", (event) => setLeast(Number(event.target.value)));
    find("reset").addEventListener("click", () => setLeast(null));
    const take = (least) => {
      if (least === null || (least >= 0 && least <= 1)) setLeast(least === null ? null : Number(least));
    };
    document.addEventListener("admlops:confidence", (event) => take(event.detail));
    document.addEventListener("admlops:sample", (event) => {
      const { sample, cut } = event.detail;
      const index = data.scenes.findIndex((scene) => scene.sweep === sample.token);
      if (index >= 0 && view.state.scene.sweep !== sample.token) choose(index);
      if (cut !== undefined && cut !== view.state.least) take(cut);
    });
    for (const name of Object.keys(PRESETS)) find(name).addEventListener("click", () => view.look(name));

    canvas.addEventListener("keydown", (event) => {
      const [plain, shifted] = KEYS[event.key] || [];
      const act = event.shiftKey && shifted ? shifted : plain;
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act(view);
    });
    // The wheel scrolls the page until the picture is chosen.
    canvas.addEventListener("focus", () => (view.controls.enableZoom = true));
    canvas.addEventListener("blur", () => (view.controls.enableZoom = false));
    canvas.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }));
    const hover = find("hover");
    canvas.addEventListener("pointermove", (event) => {
      const box = event.buttons ? null : view.pick(event.offsetX, event.offsetY);
      hover.hidden = !box;
      if (!box) return;
      hover.textContent = explain(box);
      hover.style.transform = `translate(${event.offsetX + 14}px, ${event.offsetY + 10}px)`;
    });
    canvas.addEventListener("pointerleave", () => (hover.hidden = true));
    canvas.addEventListener("webglcontextlost", () => say("The browser gave up this WebGL picture: load the page again."));

    for (const [index, scene] of data.scenes.entries()) offer(scene, () => {
      choose(index);
      root.scrollIntoView();
      canvas.focus({ preventScroll: true });
    });
    new ResizeObserver(() => view.resize()).observe(canvas.parentElement);
    setLeast(null);
    choose(0);
    view.look("behind");
    root.dataset.state = "drawn";
  }

  // A button on the sample's own card.
  function offer(scene, show) {
    const line = document.querySelector(`#${CSS.escape(scene.card)} p.quiet`);
    if (!line) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "lidar-open";
    button.textContent = "LiDAR view";
    button.addEventListener("click", show);
    line.append(" ", button);
  }

  function start() {
    find("fallback").hidden = true;
    find("viewer").hidden = false;
    try {
      connect(new View(find("canvas")));
    } catch (error) {
      say(`The LiDAR view cannot be drawn here: ${error.message}`);
    }
  }

  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser gives no WebGL 2, so LiDAR points cannot be drawn; the views from above show the same boxes.");
    root.dataset.state = "no-webgl";
    return;
  }
  start();
})();
