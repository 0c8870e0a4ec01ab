"use strict";
// Page of sk-b2s live. Names come as data and are only ever set as text.
const MARGIN = { left: 40, right: 10, top: 12, bottom: 24 };
const SVG = "http://www.w3.org/2000/svg";
const SHOWN = 4; // seconds of a spectrogram
let names = [], history = [], facts = {}, waiting = false;
let spectrograms = null, clock = null; // spectrograms, and the time that is shown

function extendRange(first, last) {
  return last - first < 1 ? [first, first + 1] : [first, last];
}

// Coordinates of a line, at most one point for each pixel column.
function makePoints(rows, index, range, width, height) {
  const points = [];
  let before = -1;
  rows.forEach((row, number) => {
    const x = (row[0] - range[0]) / (range[1] - range[0]) * width;
    if (Math.floor(x) === before && number < rows.length - 1) return;
    before = Math.floor(x);
    points.push((MARGIN.left + x).toFixed(1) + "," + (MARGIN.top + (1 - row[index + 1]) * height).toFixed(1));
  });
  return points.join(" ");
}

function formatNumber(value, digits) {
  return typeof value === "number" && isFinite(value) ? value.toFixed(digits) : "-";
}

function styleOf(index) {
  return "s" + index % 8 + " d" + Math.floor(index / 8) % 3;
}

function byId(id) { return document.getElementById(id); }

function addSvg(parent, kind, attributes, text) {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.appendChild(element);
  return element;
}

function makeRows() {
  const body = byId("rows");
  body.replaceChildren();
  names.forEach((name, index) => {
    const row = body.insertRow(), cell = row.insertCell();
    const key = addSvg(cell, "svg", { viewBox: "0 0 32 12", "aria-hidden": "true" });
    addSvg(key, "line", { x1: 0, y1: 6, x2: 32, y2: 6, "stroke-width": 3, class: styleOf(index) });
    const label = document.createElement("bdi");
    label.textContent = name;
    cell.appendChild(label);
    row.insertCell().textContent = "-";
  });
  byId("duel").hidden = names.length !== 2;
  if (names.length === 2) {
    byId("left").textContent = names[0];
    byId("right").textContent = names[1];
  }
}

function drawChart() {
  const chart = byId("chart"), box = chart.getBoundingClientRect();
  const width = box.width - MARGIN.left - MARGIN.right, height = box.height - MARGIN.top - MARGIN.bottom;
  chart.setAttribute("viewBox", "0 0 " + box.width + " " + box.height);
  chart.replaceChildren();
  if (width < 10 || !history.length) return;
  const range = extendRange(history[0][0], history[history.length - 1][0]);
  for (const level of [0, 0.5, 1]) {
    const y = MARGIN.top + (1 - level) * height;
    addSvg(chart, "line", { class: "grid", x1: MARGIN.left, x2: MARGIN.left + width, y1: y, y2: y });
    addSvg(chart, "text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, level.toFixed(1));
  }
  const y = MARGIN.top + (1 - 1 / names.length) * height;
  addSvg(chart, "line", { class: "chance", x1: MARGIN.left, x2: MARGIN.left + width, y1: y, y2: y });
  [0, 0.5, 1].forEach((share, index) => {
    const anchor = ["start", "middle", "end"][index];
    const text = (range[0] + share * (range[1] - range[0])).toFixed(0) + " s";
    addSvg(chart, "text", { x: MARGIN.left + share * width, y: box.height - 6, "text-anchor": anchor }, text);
  });
  names.forEach((name, index) => {
    addSvg(chart, "polyline", { class: styleOf(index), points: makePoints(history, index, range, width, height) });
  });
}

function draw() {
  waiting = false;
  drawChart();
  byId("lost").textContent = formatNumber(facts.n_lost, 0);
  byId("time").textContent = formatNumber(facts.now, 1) + " s";
  if (!history.length) return;
  const last = history[history.length - 1].slice(1), best = last.indexOf(Math.max(...last));
  Array.from(byId("rows").rows).forEach((row, index) => {
    row.className = index === best ? "best" : "";
    row.cells[1].textContent = formatNumber(last[index], 3);
  });
  byId("chart").setAttribute("aria-label", "Most probable: " + names[best] + ", probability " + formatNumber(last[best], 2));
  byId("age").textContent = formatNumber(facts.age, 2) + " s";
  byId("evidence").textContent = formatNumber(history[history.length - 1][0], 1) + " s";
  byId("count").textContent = formatNumber(facts.count, 0);
  if (names.length === 2) {
    byId("share").style.width = 100 * last[0] + "%";
    byId("left-value").textContent = formatNumber(last[0], 2);
    byId("right-value").textContent = formatNumber(last[1], 2);
  }
}

// Mean of columns of spectrograms, (n_bands, n_columns) from the top, that end at a frame.
function mixSpectra(spectra, weights, nBands, last, nColumns) {
  const mixture = new Float32Array(nBands * nColumns);
  spectra.forEach((values, index) => {
    const nFrames = values.length / nBands;
    for (let column = 0; column < nColumns; column++) {
      const frame = last - nColumns + 1 + column;
      if (frame < 0 || frame >= nFrames) continue;
      for (let band = 0; band < nBands; band++) {
        mixture[(nBands - 1 - band) * nColumns + column] += weights[index] * values[band * nFrames + frame];
      }
    }
  });
  return mixture;
}

function paintMixture(canvas, weights) {
  const nColumns = SHOWN * spectrograms.sfreq, nBands = spectrograms.n_bands;
  const last = Math.floor((clock.shown - spectrograms.start) * spectrograms.sfreq);
  const mixture = mixSpectra(spectrograms.spectra, weights, nBands, last, nColumns);
  if (canvas.width !== nColumns || canvas.height !== nBands) {
    canvas.width = nColumns;
    canvas.height = nBands;
  }
  const context = canvas.getContext("2d"), image = context.createImageData(nColumns, nBands);
  mixture.forEach((value, index) => {
    const v = value / 255;
    image.data.set([255 * Math.min(1, 1.6 * v), 255 * v * v, 255 * (.25 + .5 * v * (1 - v)), 255], 4 * index);
  });
  context.putImageData(image, 0, 0);
}

// Time and probabilities move smoothly to those of the latest prediction.
function paintSpectrograms(now) {
  if (spectrograms && history.length) {
    const target = history[history.length - 1], step = clock ? Math.min(1, (now - clock.now) / 150) : 1;
    const isFar = facts.ended || matchMedia("(prefers-reduced-motion: reduce)").matches || !clock || Math.abs(target[0] - clock.shown) > 2;
    const shown = isFar ? target[0] : clock.shown + step * (target[0] - clock.shown);
    const move = (before, wanted) => wanted.map((value, i) => isFar || !before ? value : before[i] + step * (value - before[i]));
    clock = {
      now, shown, own: move(clock && clock.own, target.slice(1)),
      twin: facts.twin && move(clock && clock.twin, facts.twin),
    };
    paintMixture(byId("mixture"), clock.own);
    byId("twin").hidden = !clock.twin;
    if (clock.twin) paintMixture(byId("twin-mixture"), clock.twin);
  }
  if (!facts.ended) requestAnimationFrame(paintSpectrograms);
}

async function loadSpectrograms() {
  const response = await fetch("spectrograms");
  const found = await response.json();
  found.spectra = found.spectra.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
  byId("spectrograms").hidden = false;
  spectrograms = found;
  requestAnimationFrame(paintSpectrograms);
}

function requestDraw() {
  if (!waiting) {
    waiting = true;
    setTimeout(draw, 100);
  }
}

function setStatus(text) {
  if (byId("status").textContent !== text) byId("status").textContent = text;
}

function describe(state) {
  if (state.ended) return "Ended: " + state.ended;
  return state.count ? "Decoding" : "Waiting for the first prediction";
}

function connect() {
  const source = new EventSource("events");
  source.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    names = state.names;
    history = state.history;
    facts = state;
    makeRows();
    setStatus(describe(state));
    requestDraw();
    if (state.has_spectrograms && !spectrograms) loadSpectrograms().catch(() => {}); // the page is complete without
    if (state.ended) source.close();
  });
  source.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    if (update.trial !== facts.trial) history = [];
    history.push(...update.rows);
    if (history.length > 4000) history.splice(0, history.length - 3000);
    facts = update;
    setStatus(describe(update));
    requestDraw();
    if (update.ended) source.close();
  });
  source.onerror = () => { if (!facts.ended) setStatus("Connection lost. Trying again ..."); };
  window.addEventListener("resize", requestDraw);
}

if (typeof document !== "undefined") connect();
if (typeof module !== "undefined") module.exports = { makePoints, extendRange, formatNumber, styleOf, mixSpectra };
