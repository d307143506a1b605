// A line chart as inline SVG, from numbers that are all there already: axes, curves, bands, marks, and a cursor.

const LABEL_SPACE = 30; // pixels at the right, for the names of curves

function scaleOf(low, high, from, to, log) {
  const f = log ? Math.log : (value) => value;
  const [a, b] = [f(low), f(high)];
  const scale = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  scale.back = (pixel) => {
    const place = a + ((pixel - from) / (to - from)) * (b - a);
    return log ? Math.exp(place) : place;
  };
  return scale;
}

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((part) => part * power >= rough) ?? 10);
  const ticks = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-9); place++) ticks.push(place * step);
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  if (decades < 0.7) return linearTicks(low, high, count);
  const parts = decades <= 1.4 ? [1, 2, 5] : decades <= 2.4 ? [1, 3] : [1];
  const every = Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (parts.length === 1 && power % every) continue;
    for (const part of parts) {
      const value = part * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  }
  return ticks;
}

const drawable = (value, log) => value !== null && value !== undefined && Number.isFinite(value) && (!log || value > 0);

// Where an axis ends: all that is drawn fits; a logarithmic one spans at most `deepest`.
function limits(lists, log, deepest = Infinity) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const value of list) {
      if (!drawable(value, log)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return [log ? 0.1 : 0, 1];
  if (log) {
    low = Math.max(low, high / deepest);
    const room = Math.max(1.03, (high / low) ** 0.06);
    return [low / room, high * room];
  }
  const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function pathOf(xs, ys, x, y, xLog, yLog) {
  let path = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (!drawable(ys[i], yLog) || !drawable(xs[i], xLog)) {
      pen = "M";
      continue;
    }
    path += `${pen}${x(xs[i]).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

function bandOf(xs, lows, highs, x, y, xLog, yLog) {
  const there = [];
  for (let i = 0; i < xs.length; i++) if (drawable(xs[i], xLog) && drawable(lows[i], yLog) && drawable(highs[i], yLog)) there.push(i);
  if (!there.length) return "";
  const point = (i, list) => `${x(xs[i]).toFixed(1)} ${y(list[i]).toFixed(1)}`;
  return `M${there.map((i) => point(i, highs)).join("L")}L${there.reverse().map((i) => point(i, lows)).join("L")}Z`;
}

let clips = 0;

// Sizes are measured once and after the window has changed: to measure makes the browser lay out the page.
let sizes = new WeakMap();

function sizeOf(node) {
  if (!sizes.get(node)?.[2]) sizes.set(node, [Math.max(200, node.clientWidth), Math.max(80, node.clientHeight), node.clientWidth > 0]);
  return sizes.get(node);
}

/* spec: {summary, xLog, yLog, deepest, xLabel, curves: [{x, y, of, dash, name, faint}], bands: [{x, low, high, of}],
   levels: [{y, of, name, spread}], marks: [{x, y, of, name, square}], points: [{x, y, faint}], x: [low, high]} */
function drawChart(node, spec) {
  const [width, height] = sizeOf(node);
  const frame = { left: 52, right: width - LABEL_SPACE, top: 12, bottom: height - (spec.xLabel ? 34 : 22) };
  const { xLog, yLog } = spec;
  const all = [...spec.curves, ...(spec.points ? [{ x: spec.points.map((p) => p.x), y: spec.points.map((p) => p.y) }] : [])];
  const xLimits = spec.x ?? limits(all.map((each) => each.x), xLog);
  const ys = [...all.map((each) => each.y), (spec.levels ?? []).map((level) => level.y), ...(spec.bands ?? []).flatMap((band) => [band.low, band.high])];
  const yLimits = limits(ys, yLog, spec.deepest);
  const x = scaleOf(...xLimits, frame.left, frame.right, xLog);
  const y = scaleOf(...yLimits, frame.bottom, frame.top, yLog);
  const clip = `clip-${node.id}-${clips++}`;
  const out = [`<clipPath id="${clip}"><rect x="${frame.left - 5}" y="${frame.top - 4}" width="${frame.right - frame.left + 10}" height="${frame.bottom - frame.top + 6}"/></clipPath>`];
  for (const tick of (yLog ? logTicks : linearTicks)(...yLimits, Math.max(2, (frame.bottom - frame.top) / 42))) {
    const at = y(tick).toFixed(1);
    out.push(`<line class="grid" x1="${frame.left}" x2="${frame.right}" y1="${at}" y2="${at}"/><text x="${frame.left - 7}" y="${at}" dy="3.5" text-anchor="end">${short(tick)}</text>`);
  }
  for (const tick of (xLog ? logTicks : linearTicks)(...xLimits, Math.max(2, (frame.right - frame.left) / 85))) {
    const at = x(tick).toFixed(1);
    const text = tick >= 1e6 || tick < 1e4 ? short(tick) : `${short(tick / 1000)}k`;
    out.push(`<line class="axis" x1="${at}" x2="${at}" y1="${frame.bottom}" y2="${frame.bottom + 4}"/><text x="${at}" y="${frame.bottom + 16}" text-anchor="middle">${text}</text>`);
  }
  if (spec.xLabel) out.push(`<text x="${(frame.left + frame.right) / 2}" y="${height - 3}" text-anchor="middle">${escaped(spec.xLabel)}</text>`);
  out.push(`<line class="axis" x1="${frame.left}" x2="${frame.right}" y1="${frame.bottom}" y2="${frame.bottom}"/><g clip-path="url(#${clip})">`);
  for (const level of spec.levels ?? []) {
    if (!drawable(level.y, yLog)) continue;
    if (level.spread) {
      const edges = [y(level.y * (1 + level.spread)), y(level.y * (1 - level.spread))];
      out.push(`<rect class="fill-${level.of}" opacity=".10" x="${frame.left}" width="${frame.right - frame.left}" y="${edges[0].toFixed(1)}" height="${(edges[1] - edges[0]).toFixed(1)}"/>`);
    }
    out.push(`<line class="${level.of}" stroke-dasharray="1.5 3.5" stroke-width="1.2" x1="${frame.left}" x2="${frame.right}" y1="${y(level.y).toFixed(1)}" y2="${y(level.y).toFixed(1)}"/>`);
  }
  for (const band of spec.bands ?? []) out.push(`<path class="fill-${band.of}" opacity=".25" d="${bandOf(band.x, band.low, band.high, x, y, xLog, yLog)}"/>`);
  for (const curve of spec.curves) {
    const style = `fill="none" stroke-width="${curve.faint ? 1 : 2}" opacity="${curve.faint ? 0.55 : 1}" stroke-linejoin="round"${curve.dash ? ` stroke-dasharray="${curve.dash}"` : ""}`;
    if (curve.x.length === 1) out.push(`<circle class="fill-${curve.of}" cx="${x(curve.x[0])}" cy="${y(curve.y[0])}" r="4"/>`);
    out.push(`<path class="${curve.of}" ${style} d="${pathOf(curve.x, curve.y, x, y, xLog, yLog)}"/>`);
  }
  for (const point of spec.points ?? []) {
    if (!drawable(point.y, yLog) || !drawable(point.x, xLog)) continue;
    const [px, py] = [x(point.x), y(point.y)];
    out.push(`<path class="fill-measured" opacity="${point.faint ? 0.25 : 1}" d="M${px - 4} ${py}l4 -4 4 4 -4 4z"><title>${escaped(point.name ?? "")}</title></path>`);
  }
  const [marked, heights] = [[], []]; // where marks and their labels are
  for (const mark of spec.marks ?? []) {
    if (!drawable(mark.y, yLog) || !drawable(mark.x, xLog)) continue;
    const [px, py] = [x(mark.x), y(mark.y)];
    const covers = marked.some((other) => Math.abs(other[0] - px) < 10 && Math.abs(other[1] - py) < 10);
    marked.push([px, py]);
    const side = covers ? 8 : 4.5; // about the other mark, and hollow
    const shape = mark.square ? `<rect class="ring ${mark.of}${covers ? " hollow" : ""}" x="${px - side}" y="${py - side}" width="${2 * side}" height="${2 * side}"/>` : `<circle class="ring ${mark.of}" cx="${px}" cy="${py}" r="5"/>`;
    out.push(`<line class="${mark.of}" stroke-width="1" opacity=".6" x1="${px}" x2="${px}" y1="${py}" y2="${frame.bottom}"/>${shape}`);
    if (mark.name) {
      const end = px > (frame.left + frame.right) / 2;
      let height = py > frame.bottom - 60 ? py - 11 : frame.bottom - 7;
      while (heights.some((other) => Math.abs(other - height) < 14)) height -= 14;
      heights.push(height);
      out.push(`<text class="label ${mark.of}" x="${px + (end ? -8 : 8)}" y="${height}" text-anchor="${end ? "end" : "start"}">${escaped(mark.name)}</text>`);
    }
  }
  out.push("</g>");
  let lowest = Infinity;
  const names = spec.curves.filter((curve) => curve.name).map((curve) => {
    let last = curve.y.length - 1;
    while (last > 0 && !drawable(curve.y[last], yLog)) last--;
    return { curve, at: Math.min(frame.bottom, Math.max(frame.top, y(curve.y[last]))), px: x(curve.x[last]) };
  });
  for (const { curve, at, px } of names.sort((p, q) => q.at - p.at)) {
    const place = Math.min(at, lowest - 13);
    lowest = place;
    if (Number.isFinite(place)) out.push(`<text class="label ${curve.of}" x="${Math.min(frame.right, px) + 6}" y="${place + 4}">${escaped(curve.name)}</text>`);
  }
  out.push(`<g class="cursor"></g>`);
  node.setAttribute("aria-label", spec.summary);
  node.innerHTML = `<svg aria-hidden="true" viewBox="0 0 ${width} ${height}">${out.join("")}</svg>`;
  node.chart = { spec, x, y, frame, place: null };
  if (!node.watched) watchCursor(node);
}

// The values of all named curves where the pointer is, or where the arrow keys put it.
function watchCursor(node) {
  node.watched = true;
  node.addEventListener("pointermove", (event) => {
    const box = node.getBoundingClientRect();
    showCursor(node, node.chart.x.back(event.clientX - box.left));
  });
  node.addEventListener("pointerleave", () => showCursor(node, null));
  node.addEventListener("focusout", () => showCursor(node, null));
  node.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const { frame, x } = node.chart;
    const pixel = Math.max(frame.left, Math.min(frame.right, (node.chart.pixel ?? frame.left) + move * (event.shiftKey ? 40 : 8)));
    showCursor(node, x.back(pixel));
  });
}

function showCursor(node, value) {
  const { spec, x, y, frame } = node.chart;
  const group = node.querySelector(".cursor");
  const first = spec.curves.find((curve) => curve.name && curve.x.length > 1);
  if (value === null || !first) {
    group.innerHTML = "";
    node.chart.pixel = null;
    return;
  }
  const parts = [];
  let dots = "";
  let at = null;
  for (const curve of spec.curves.filter((each) => each.name)) {
    const i = nearest(curve.x, value);
    at ??= curve.x[i];
    if (!drawable(curve.y[i], spec.yLog)) continue;
    parts.push(`${curve.name} ${short(curve.y[i], 4)}`);
    dots += `<circle class="fill-${curve.of}" cx="${x(curve.x[i])}" cy="${y(curve.y[i])}" r="3"/>`;
  }
  const pixel = Math.max(frame.left, Math.min(frame.right, x(at)));
  node.chart.pixel = pixel;
  const words = `${spec.cursor ?? "step"} ${at >= 1e4 ? Math.round(at).toLocaleString("en") : short(at, 4)}: ${parts.join(", ")}`;
  const end = pixel > (frame.left + frame.right) / 2;
  if (document.activeElement === node) byId("read-out").textContent = words;
  group.innerHTML = `<line class="axis" opacity=".5" x1="${pixel}" x2="${pixel}" y1="${frame.top}" y2="${frame.bottom}"/>${dots}<text class="readout" x="${end ? pixel - 7 : pixel + 7}" y="${frame.top + 8}" text-anchor="${end ? "end" : "start"}">${escaped(words)}</text>`;
}

function nearest(sorted, value) {
  let [low, high] = [0, sorted.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle;
    else high = middle;
  }
  return value - sorted[low] <= sorted[high] - value ? low : high;
}
