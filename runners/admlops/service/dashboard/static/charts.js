"use strict";
/* Curves: telemetry of a run, and the history of a metric. Lines are in the page's colours, light or dark. */
(() => {
  const LIVE_MS = 5000;
  const drawn = [];

  function style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function axis(more) {
    return { stroke: style("--muted"), grid: { stroke: style("--rule"), width: 1 }, ticks: { stroke: style("--rule"), width: 1 }, font: `12px ${style("--sans")}`, ...more };
  }

  function spellSeconds(value) {
    const minutes = Math.floor(value / 60);
    return minutes ? `${minutes}:${String(Math.round(value % 60)).padStart(2, "0")} min` : `${value} s`;
  }

  /** Times of day on one day, days on several; all as 30 Nov 13:20 where both are needed. */
  function spellTimes(plot, ticks) {
    const span = ticks.length > 1 ? ticks[ticks.length - 1] - ticks[0] : 0;
    const day = { day: "numeric", month: "short" }, hour = { hour: "2-digit", minute: "2-digit", hour12: false };
    const write = new Intl.DateTimeFormat("en-GB", span > 5 * 86400 ? day : span > 80000 ? { ...day, ...hour } : hour);
    return ticks.map((one) => write.format(new Date(one * 1000)));
  }

  function pad(low, high) {
    const room = (high - low) * 0.12 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  function draw(place, chart) {
    const lines = chart.series.map((one, index) => {
      const colour = style(`--series-${1 + (index % 7)}`);
      return { label: one.label, stroke: colour, width: 2, spanGaps: true, points: { show: Boolean(chart.points), size: 8, fill: colour } };
    });
    const values = chart.series.flatMap((one) => one.values).filter((one) => one !== null);
    const low = Math.min(...values), high = Math.max(...values);
    const options = {
      width: place.clientWidth,
      height: place.clientHeight,
      scales: {
        x: { time: Boolean(chart.time), range: chart.x.length < 2 ? (plot, first) => [first - 3600, first + 3600] : undefined },
        y: { range: chart.points ? pad(low, high) : [0, chart.unit === "%" ? Math.max(100, high) : high * 1.1 || 1] },
      },
      axes: [
        axis({ size: 32, space: 90, values: chart.time ? spellTimes : (plot, ticks) => ticks.map(spellSeconds) }),
        axis({ size: 58, values: (plot, ticks) => ticks.map((one) => `${+one.toPrecision(4)}`) }),
      ],
      series: [{}, ...lines],
      cursor: { y: false },
      legend: { show: false },
    };
    place.replaceChildren();
    const plot = new uPlot(options, [chart.x, ...chart.series.map((one) => one.values)], place);
    drawn.push({ place, chart, plot });
  }

  function drawAll(pairs) {
    for (const one of drawn.splice(0)) one.plot.destroy();
    for (const [place, chart] of pairs) draw(place, chart);
  }

  async function drawTelemetry(area) {
    const response = await fetch(area.dataset.source);
    if (!response.ok) return;
    const { charts } = await response.json();
    const places = area.querySelectorAll(".plot");
    if (charts.length !== places.length) return location.reload(); // the first readings came
    drawAll(charts.map((chart, index) => [places[index], chart]));
  }

  const area = document.getElementById("telemetry");
  if (area) {
    drawTelemetry(area);
    if (area.hasAttribute("data-live")) setInterval(() => { if (!document.hidden) drawTelemetry(area); }, LIVE_MS);
  }
  drawAll([...document.querySelectorAll(".plot[data-values]")].map((place) => [place, JSON.parse(place.dataset.values)]));

  const again = () => drawAll(drawn.map(({ place, chart }) => [place, chart]));
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(again, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
