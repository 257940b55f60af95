"use strict";
/* What the page's other scripts build on. The state of the page (the sample shown, how tables are sorted) stands in its
   address after "#?", so that a link shows what its sender saw. Without any script the page is whole, only still. */
const admlops = (() => {
  const listeners = [];
  let state = readAddress();
  let waiting = 0;

  function readAddress() {
    return new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
  }

  function get(key, fallback = "") {
    return state.get(key) ?? fallback;
  }

  function set(key, value) {
    if (value === "" || value === null) state.delete(key);
    else state.set(key, value);
    clearTimeout(waiting);
    waiting = setTimeout(writeAddress, 200); // browsers refuse an address that changes with every frame
  }

  function writeAddress() {
    clearTimeout(waiting);
    const text = state.toString();
    const now = location.hash.startsWith("#?") ? location.hash.slice(2) : "";
    if (text === now) return;
    history.replaceState(null, "", text ? `#?${text}` : location.pathname + location.search);
  }

  addEventListener("hashchange", () => {
    if (!location.hash.startsWith("#?")) return;
    state = readAddress();
    for (const listener of listeners) listener();
  });

  /** Text for innerHTML: class names, labels and tokens come from files of others. */
  function escape(text) {
    const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
    return String(text).replace(/[&<>"']/g, (character) => names[character]);
  }

  /** An element with properties, attributes (those with a dash or that no property stands for) and children. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element && !name.includes("-")) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  return { get, set, writeAddress, escape, make, onAddress: (listener) => listeners.push(listener) };
})();
