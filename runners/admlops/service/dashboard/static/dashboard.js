"use strict";
/* What every page needs: its updates, clocks, and questions before something is stopped.

   Updates come as server-sent events by htmx. A browser opens six connections to a server at most, so that only three
   tabs keep one, by locks that all tabs of the browser share; the others ask every few seconds, and a tab in the
   background does neither. */
(() => {
  const STREAMS = 3;
  const ASK_MS = 3000;
  const MOST_LINES = 2000;
  const place = document.getElementById("live");
  const status = document.getElementById("live-status");
  const WORDS = { live: "Live", slow: "Every 3 seconds", lost: "Reconnecting…", wait: "Connecting…" };
  let connection = null;
  let lastId = "";
  let release = null;
  let timer = 0;
  let turn = 0; // counts up whenever the page is shown or hidden: what began before has ended

  function say(state) {
    if (!status || status.dataset.state === state) return;
    status.dataset.state = state;
    status.textContent = WORDS[state];
  }

  /* Updates */
  async function begin() {
    const mine = ++turn;
    say("wait");
    if (!(await takeLock(mine))) {
      if (mine === turn) ask(mine);
      return;
    }
    const element = document.createElement("div");
    element.setAttribute("hx-sse:connect", place.dataset.address);
    element.setAttribute("hx-config", "sse.reconnectMaxDelay:3000 sse.pauseOnBackground:false");
    place.replaceChildren(element);
    htmx.process(element);
  }

  function end() {
    turn += 1;
    clearTimeout(timer);
    connection?.reader?.cancel();
    connection?.abortController?.abort();
    connection = null;
    place.replaceChildren();
    release?.();
    release = null;
  }

  /** Whether this tab may keep a connection; without locks (a page over plain http from elsewhere) it never does. */
  function takeLock(mine) {
    if (!navigator.locks) return Promise.resolve(false);
    return new Promise((answer) => {
      const attempt = (number) => {
        if (number === STREAMS) return answer(false);
        navigator.locks.request(`admlops-live-${number}`, { ifAvailable: true }, (lock) => {
          if (!lock) return attempt(number + 1);
          if (mine !== turn) return answer(false);
          answer(true);
          return new Promise((resolve) => { release = resolve; });
        });
      };
      attempt(0);
    });
  }

  async function ask(mine) {
    try {
      const response = await fetch(`${place.dataset.address}?once=1`, { headers: { "Last-Event-ID": lastId } });
      if (mine !== turn) return;
      if (response.status === 401) return location.reload();
      const text = await response.text();
      lastId = response.headers.get("x-event-id") ?? "";
      if (text) await htmx.swap({ text, sourceElement: place, target: place, swap: "none" });
      say("slow");
    } catch {
      say("lost");
    }
    timer = setTimeout(async () => {
      if (mine !== turn) return;
      if (navigator.locks && (await navigator.locks.query()).held.length < STREAMS) begin();
      else ask(mine);
    }, ASK_MS);
  }

  if (place) {
    document.addEventListener("htmx:config:request", (event) => {
      const asked = event.detail.ctx.request;
      if (lastId && place.contains(event.target)) asked.headers["Last-Event-ID"] = lastId;
    });
    document.addEventListener("htmx:sse:after:connection", (event) => {
      connection = event.detail.connection;
      say("live");
    });
    document.addEventListener("htmx:sse:after:message", (event) => { lastId = event.detail.message.id || lastId; });
    document.addEventListener("htmx:sse:before:connection", (event) => {
      if (event.detail.connection.attempt) say("lost");
    });
    document.addEventListener("htmx:sse:error", (event) => {
      say("lost");
      if (event.detail.status === 401) location.reload();
    });
    document.addEventListener("htmx:error", () => { // the first request failed: there is no connection to mend
      if (connection) return;
      say("lost");
      const mine = turn;
      timer = setTimeout(() => { if (mine === turn) { end(); begin(); } }, ASK_MS);
    });
    document.addEventListener("visibilitychange", () => (document.hidden ? end() : begin()));
    addEventListener("pagehide", end);
    addEventListener("pageshow", (event) => { if (event.persisted && !document.hidden) begin(); });
    document.addEventListener("DOMContentLoaded", () => { if (!document.hidden) begin(); });
  }

  /* Clocks: <time datetime> says how long ago; with data-since it counts up. */
  const SPANS = [["day", 86400], ["hour", 3600], ["minute", 60]];

  function ago(seconds) {
    if (seconds < 10) return "just now";
    for (const [name, length] of SPANS) {
      const count = Math.floor(seconds / length);
      if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
    }
    return `${Math.floor(seconds)} seconds ago`;
  }

  function length(seconds) {
    if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${seconds.toFixed(0)} s`;
    const minutes = Math.floor(Math.round(seconds) / 60);
    if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function turnClocks() {
    for (const clock of document.querySelectorAll("main time[datetime]")) {
      const seconds = Math.max(0, (Date.now() - Date.parse(clock.dateTime)) / 1000);
      const text = clock.dataset.since === undefined ? ago(seconds) : length(seconds);
      if (clock.textContent !== text) clock.textContent = text;
    }
  }
  setInterval(turnClocks, 1000);

  /* Logs: follow the end unless the reader has scrolled up. */
  const log = document.getElementById("log");
  if (log) {
    let follows = true;
    log.addEventListener("scroll", () => { follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40; });
    new MutationObserver(() => {
      while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
      if (follows) log.scrollTop = log.scrollHeight;
    }).observe(log, { childList: true });
    log.scrollTop = log.scrollHeight;
  }

  /* Questions */
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest("form[data-at-once]")) event.target.form.requestSubmit();
  });
})();
