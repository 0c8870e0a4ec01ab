"use strict";
// Page of sk-b2s live. Names come as data and are only ever set as text.
const MARGIN = { left: 40, right: 10, top: 12, bottom: 24 };
const SVG = "http://www.w3.org/2000/svg";
const SHOWN = 4; // seconds of a spectrogram
let names = [], rows = [], history = [], facts = {}, waiting = false;
const FAINT = 0.07, N_ROWS = 12; // opacity of an image with probability 0, and most rows of candidates
const LETTERS = 12, READABLE = 44; // pixels of the font of a name, and of the narrowest image that has one
let spectrograms = null, images = null, clock = null, painted = ""; // of the candidates, and what is shown

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
  rows = names.map((name, index) => {
    const row = body.insertRow(), cell = row.insertCell();
    const key = addSvg(cell, "svg", { viewBox: "0 0 32 12", "aria-hidden": "true" });
    addSvg(key, "line", { x1: 0, y1: 6, x2: 32, y2: 6, "stroke-width": 3, class: styleOf(index) });
    const label = document.createElement("bdi");
    label.textContent = name;
    cell.appendChild(label);
    row.insertCell().textContent = "-";
    return row;
  });
  if (names.length > N_ROWS) body.replaceChildren(...rows.slice(0, N_ROWS));
  byId("many").hidden = names.length <= N_ROWS;
  byId("many").textContent = "The " + N_ROWS + " most probable of " + names.length + " candidates";
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
  rows.forEach((row, index) => {
    row.className = index === best ? "best" : "";
    row.cells[1].textContent = formatNumber(last[index], 3);
  });
  if (names.length > N_ROWS) byId("rows").replaceChildren(...findLargest(last, N_ROWS).map((index) => rows[index]));
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

// Places of the largest values, the largest first.
function findLargest(values, count) {
  return values.map((_, index) => index).sort((a, b) => values[b] - values[a]).slice(0, count);
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

// Columns and rows of a mosaic, about twice as wide as high.
function shapeMosaic(count) {
  const nColumns = Math.ceil(Math.sqrt(2 * count));
  return [nColumns, Math.ceil(count / nColumns)];
}

// Opacity of each image. 1 is the largest probability of the decoder and its twin.
function computeOpacity(weights, largest) {
  return weights.map((weight) => FAINT + (1 - FAINT) * Math.min(1, weight / largest));
}

// Lines of a name that is too long for one, at most three.
function breakName(name, nLetters) {
  const letters = Array.from(name), lines = [];
  if (letters.length > 3 * nLetters) letters.splice(3 * nLetters - 1, letters.length, "\u2026");
  while (letters.length) lines.push(letters.splice(0, nLetters).join(""));
  return lines;
}

// Images without a file are shown by name, or as a square if a name is not readable.
function paintMosaic(canvas, opacities, color) {
  const [nColumns, nRows] = shapeMosaic(names.length), context = canvas.getContext("2d"), ratio = devicePixelRatio;
  const tile = Math.max(4, Math.floor(canvas.clientWidth * ratio / nColumns)), inside = .96 * tile, font = LETTERS * ratio;
  canvas.width = nColumns * tile; // which also clears it
  canvas.height = nRows * tile;
  context.font = font + "px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = color;
  opacities.forEach((opacity, index) => {
    const x = (index % nColumns + .5) * tile, y = (Math.floor(index / nColumns) + .5) * tile, picture = images[index];
    context.globalAlpha = opacity;
    if (picture && picture.naturalWidth) {
      const scale = inside / Math.max(picture.naturalWidth, picture.naturalHeight);
      const width = scale * picture.naturalWidth, height = scale * picture.naturalHeight;
      context.drawImage(picture, x - width / 2, y - height / 2, width, height);
    } else if (tile < READABLE * ratio) {
      context.fillRect(x - inside / 2, y - inside / 2, inside, inside);
    } else {
      const lines = breakName(names[index], Math.floor(inside / (.6 * font)));
      lines.forEach((line, i) => context.fillText(line, x, y + 1.2 * font * (i - (lines.length - 1) / 2), inside));
    }
  });
}

function paintMosaics() {
  const largest = Math.max(1e-9, ...clock.own, ...(clock.twin || [])), color = getComputedStyle(document.body).color;
  const parts = [["mosaic", clock.own], ["twin-mosaic", clock.twin]].filter((part) => part[1]);
  byId("twin-images").hidden = !clock.twin;
  const opacities = parts.map((part) => computeOpacity(part[1], largest).map((value) => Math.round(200 * value) / 200));
  const looks = [color, devicePixelRatio, byId("mosaic").clientWidth, opacities].join();
  if (looks === painted) return; // most frames
  painted = looks;
  parts.forEach((part, index) => paintMosaic(byId(part[0]), opacities[index], color));
}

// Time and probabilities move smoothly to those of the latest prediction.
function paintFrame(now) {
  if ((spectrograms || images) && history.length) {
    const target = history[history.length - 1], step = clock ? Math.min(1, (now - clock.now) / 150) : 1;
    const isFar = facts.ended || matchMedia("(prefers-reduced-motion: reduce)").matches || !clock || (spectrograms && Math.abs(target[0] - clock.shown) > 2);
    const shown = isFar ? target[0] : clock.shown + step * (target[0] - clock.shown);
    const move = (before, wanted) => wanted.map((value, i) => isFar || !before ? value : before[i] + step * (value - before[i]));
    clock = {
      now, shown, own: move(clock && clock.own, target.slice(1)),
      twin: facts.twin && move(clock && clock.twin, facts.twin),
    };
    if (images) paintMosaics();
    if (spectrograms) {
      paintMixture(byId("mixture"), clock.own);
      byId("twin").hidden = !clock.twin;
      if (clock.twin) paintMixture(byId("twin-mixture"), clock.twin);
    }
  }
  if (!facts.ended) requestAnimationFrame(paintFrame);
}

async function loadImages() {
  byId("unit").textContent = "Seconds of the stream, one prediction for each onset";
  byId("evidence-name").textContent = "Time of the prediction";
  const response = await fetch("images"), found = await response.json();
  images = await Promise.all(found.images.map(async (url) => {
    if (!url) return null;
    const picture = new Image();
    picture.src = url;
    await picture.decode().catch(() => {}); // shown by name
    return picture;
  }));
  byId("images").hidden = false;
  requestAnimationFrame(paintFrame);
}

async function loadSpectrograms() {
  const response = await fetch("spectrograms");
  const found = await response.json();
  found.spectra = found.spectra.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
  byId("spectrograms").hidden = false;
  spectrograms = found;
  requestAnimationFrame(paintFrame);
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
    if (state.has_images && !images) loadImages().catch(() => {});
    if (state.has_spectrograms && !spectrograms) loadSpectrograms().catch(() => {}); // the page is complete without
    if (state.ended) source.close();
  });
  source.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    if (update.trial !== facts.trial && !update.has_images) history = [];
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
if (typeof module !== "undefined") module.exports = { makePoints, extendRange, formatNumber, styleOf, mixSpectra, shapeMosaic, computeOpacity, breakName, findLargest };
