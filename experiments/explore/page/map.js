// The map of transients over learning rate and weight decay; the settings are points that can be moved.

const LEVELS = [0, 0.01, 0.03, 0.1, 0.3, 1]; // a share of the run up to each; then: not in this run
const LEVEL_NAMES = ["none", "1 %", "3 %", "10 %", "30 %", "100 %", "not in this run"];

const levelOf = (fraction) => (fraction >= 1 ? 6 : LEVELS.findIndex((edge) => fraction <= edge));

// What the colours mean: a share of the run up to each.
function buildLegend(node) {
  node.replaceChildren(...LEVEL_NAMES.map((name, level) => {
    const key = element("span", {});
    key.innerHTML = `<svg width="11" height="11" aria-hidden="true"><rect class="level-${level} axis" stroke-width=".6" width="11" height="11"/></svg> ${level && level < 6 ? "≤ " : ""}${name}`;
    return key;
  }));
}

// Between the settings that were computed the picture follows straight lines in the logarithm of the share.
const FINER = 3; // cells of the picture for one that was computed, along each axis
const NEVER = 1.4; // stands for a transient that does not end in the run, so that its edge lies between two settings

function finer(list) {
  const logs = list.map(Math.log);
  return Array.from({ length: (list.length - 1) * FINER + 1 }, (_, k) => {
    const i = Math.min(Math.floor(k / FINER), list.length - 2);
    return Math.exp(logs[i] + (logs[i + 1] - logs[i]) * (k / FINER - i));
  });
}

function levelsOf(fraction) {
  const height = (fraction.length - 1) * FINER + 1;
  const width = (fraction[0].length - 1) * FINER + 1;
  const share = (j, i) => (fraction[j][i] === null ? null : Math.log(fraction[j][i] >= 1 ? NEVER : Math.max(fraction[j][i], 0.003)));
  return Array.from({ length: height }, (_, row) => {
    const j = Math.min(Math.floor(row / FINER), fraction.length - 2);
    const v = row / FINER - j;
    return Array.from({ length: width }, (_, column) => {
      const i = Math.min(Math.floor(column / FINER), fraction[0].length - 2);
      const u = column / FINER - i;
      const corners = [share(j, i), share(j, i + 1), share(j + 1, i), share(j + 1, i + 1)];
      const nearest = fraction[j + (v > 0.5 ? 1 : 0)][i + (u > 0.5 ? 1 : 0)];
      if (nearest === null || nearest === 0 || corners.includes(null)) return nearest === null ? null : levelOf(nearest);
      const value = (1 - v) * ((1 - u) * corners[0] + u * corners[1]) + v * ((1 - u) * corners[2] + u * corners[3]);
      return levelOf(Math.exp(value));
    });
  });
}

// The ground is drawn when the answer or the size changes, the points with every move.
function drawMap(node, found, settings, ends) {
  if (!found?.fraction) {
    node.innerHTML = "";
    node.map = null;
    return;
  }
  const [width, height] = sizeOf(node);
  if (node.map?.found !== found || node.map.width !== width || node.map.height !== height) drawGround(node, found, width, height);
  const { x, y, frame } = node.map;
  const out = [];
  for (const end of ends) if (drawable(end.learning_rate, true) && drawable(end.weight_decay, true)) out.push(`<path class="measured" stroke-width="1.4" d="M${x(end.learning_rate) - 3} ${y(end.weight_decay) - 3}l6 6m0 -6l-6 6"/>`);
  const drawn = [];
  for (const { of, isElsewhere, rate, decay } of settings) {
    if (!drawable(rate, true) || !drawable(decay, true)) continue;
    const px = Math.max(frame.left, Math.min(frame.right, x(rate)));
    const py = Math.max(frame.top, Math.min(frame.bottom, y(decay)));
    const covers = drawn.some((other) => Math.abs(other[0] - px) < 12 && Math.abs(other[1] - py) < 12);
    drawn.push([px, py]);
    const side = covers ? 10 : 5; // about the other point, and hollow
    const shape = of === "b" ? `<rect class="ring b${covers ? " hollow" : ""}" x="${px - side}" y="${py - side}" width="${2 * side}" height="${2 * side}"/>` : `<circle class="ring a" cx="${px}" cy="${py}" r="6"/>`;
    const mark = `${shape}<text class="label ${of}" x="${px + side + 4}" y="${covers ? py + 14 : py - 6}">${of.toUpperCase()}</text>`;
    out.push(isElsewhere ? `<g class="elsewhere">${mark}</g>` : mark);
  }
  node.querySelector(".points").innerHTML = out.join("");
  const told = settings.map(({ of, isElsewhere, rate, decay }) => `${of.toUpperCase()} at learning rate ${rate}, decay ${decay}${isElsewhere ? ", whose map is another" : ""}`).join("; ");
  node.setAttribute("aria-label", `Map of the transient over learning rate and weight decay: ${told}. Arrow keys move the setting.`);
}

function drawGround(node, found, width, height) {
  const frame = { left: 52, right: width - 8, top: 20, bottom: height - 34 };
  const [rates, decays] = [finer(found.learning_rate), finer(found.weight_decay)];
  const x = scaleOf(rates[0], rates.at(-1), frame.left, frame.right, true);
  const y = scaleOf(decays[0], decays.at(-1), frame.bottom, frame.top, true);
  const cell = [(frame.right - frame.left) / (rates.length - 1), (frame.bottom - frame.top) / (decays.length - 1)];
  const out = [`<clipPath id="map-clip"><rect x="${frame.left}" y="${frame.top}" width="${frame.right - frame.left}" height="${frame.bottom - frame.top}"/></clipPath><g clip-path="url(#map-clip)" shape-rendering="crispEdges">`];
  levelsOf(found.fraction).forEach((row, j) => {
    let start = 0; // neighbours of one level are one rectangle
    for (let i = 1; i <= row.length; i++) {
      const level = row[start];
      if (i < row.length && row[i] === level) continue;
      if (level) out.push(`<rect class="level-${level}" x="${(x(rates[start]) - cell[0] / 2).toFixed(1)}" y="${(y(decays[j]) - cell[1] / 2).toFixed(1)}" width="${(cell[0] * (i - start) + 0.6).toFixed(1)}" height="${(cell[1] + 0.6).toFixed(1)}"/>`);
      start = i;
    }
  });
  out.push("</g>");
  for (const tick of logTicks(rates[0], rates.at(-1), 6)) out.push(`<line class="axis" x1="${x(tick)}" x2="${x(tick)}" y1="${frame.bottom}" y2="${frame.bottom + 4}"/><text x="${x(tick)}" y="${frame.bottom + 16}" text-anchor="middle">${short(tick)}</text>`);
  for (const tick of logTicks(decays[0], decays.at(-1), 6)) out.push(`<line class="axis" x1="${frame.left - 4}" x2="${frame.left}" y1="${y(tick)}" y2="${y(tick)}"/><text x="${frame.left - 8}" y="${y(tick)}" dy="3.5" text-anchor="end">${short(tick)}</text>`);
  out.push(`<rect fill="none" class="axis" x="${frame.left}" y="${frame.top}" width="${frame.right - frame.left}" height="${frame.bottom - frame.top}"/>`);
  out.push(`<text x="${(frame.left + frame.right) / 2}" y="${height - 3}" text-anchor="middle">learning rate</text><text x="2" y="${frame.top - 7}">decay</text>`);
  node.innerHTML = `<svg aria-hidden="true" viewBox="0 0 ${width} ${height}">${out.join("")}<g class="points"></g></svg>`;
  node.map = { found, width, height, x, y, frame };
}

// move(rate, decay, isFinal) is told where a setting was dragged to; nudge(dx, dy) in tenths of a decade.
function watchMap(node, move, nudge) {
  let dragging = false;
  const at = (event, isFinal) => {
    if (!node.map) return;
    const box = node.getBoundingClientRect();
    const { frame, x, y } = node.map;
    const px = Math.max(frame.left, Math.min(frame.right, event.clientX - box.left));
    const py = Math.max(frame.top, Math.min(frame.bottom, event.clientY - box.top));
    move(short(x.back(px)), short(y.back(py)), isFinal);
  };
  node.addEventListener("pointerdown", (event) => {
    if (!node.map || event.button !== 0) return;
    event.preventDefault();
    dragging = true;
    node.setPointerCapture(event.pointerId);
    at(event, false);
  });
  node.addEventListener("pointermove", (event) => dragging && at(event, false));
  const drop = (event) => {
    if (dragging) at(event, true);
    dragging = false;
  };
  node.addEventListener("pointerup", drop);
  node.addEventListener("pointercancel", () => (dragging = false));
  node.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || !node.map) return;
    event.preventDefault();
    nudge(...step);
  });
}
