// The tab of the best learning rate: boxes for the scale and the law, two charts, and the reasons in words.

const SCALE_BOXES = { num_params: "model size N", num_tokens: "data D (tokens)", tokens_per_step: "batch B (tokens a step)" };
const LAW_BOXES = { C1: "C₁", a1: "a₁", C2: "C₂", a2: "a₂", B2: "B₂", noise_growth: "g, growth of the noise with N" };
const AXIS_CHOICES = { num_params: "model size N", num_tokens: "data D" };
const AXIS_NAMES = { num_params: "model size N (parameters)", num_tokens: "data D (tokens)" };

const lawBoxes = {};

function buildLaw(onInput) {
  for (const [place, boxes] of [["law-scale", SCALE_BOXES], ["law-constants", LAW_BOXES]]) {
    for (const [name, label] of Object.entries(boxes)) byId(place).append(lawBox(name, label, CONFIG.law.starts[name], onInput));
  }
  byId("law-reference").textContent = `Nᵣ = ${short(CONFIG.law.reference[0])}, Bᵣ = ${CONFIG.law.reference[1].toLocaleString("en")}`;
  const axis = element("select", { id: "law-axis" }, ...Object.entries(AXIS_CHOICES).map(([value, textContent]) => element("option", { value, textContent })));
  axis.addEventListener("change", () => onInput("axis", axis.value, true));
  lawBoxes.axis = { box: axis, error: element("p", { className: "error" }), start: "num_params" };
  byId("law-scale").append(element("div", { className: "field wide" }, element("label", { htmlFor: "law-axis", textContent: "drawn along" }), axis));
  byId("law-as-long").addEventListener("click", () => {
    lawBoxes.num_tokens.box.value = byId("law-as-long").value;
    onInput("num_tokens", byId("law-as-long").value, true);
  });
}

function lawBox(name, label, start, onInput) {
  const id = `law-${name}`;
  const error = element("p", { className: "error", id: `${id}-error` });
  const box = element("input", { type: "text", inputMode: "decimal", id, spellcheck: false, "aria-describedby": error.id });
  box.addEventListener("input", () => onInput(name, box.value, false));
  box.addEventListener("change", () => onInput(name, box.value, true));
  lawBoxes[name] = { box, error, start };
  return element("div", { className: "field" }, element("label", { htmlFor: id, textContent: label }), box, error);
}

function showLaw(law) {
  for (const [name, { box, start }] of Object.entries(lawBoxes)) if (box !== document.activeElement || box.tagName === "SELECT") box.value = law[name] ?? start;
}

function complainOfLaw(field, line) {
  for (const [name, { error, box }] of Object.entries(lawBoxes)) {
    error.textContent = name === field ? line : "";
    if (name === field) box.setAttribute("aria-invalid", "true");
    else box.removeAttribute("aria-invalid");
  }
  byId("law-said").textContent = line && !lawBoxes[field] ? line : "";
}

// Where the length of the run comes from, and how to have that of setting A.
function drawLength(found) {
  const steps = Math.round(found.num_steps);
  const same = steps === found.own_steps;
  const own = same ? "as long as setting A." : `Setting A has ${shown(found.own_steps, "count")}; its schedule is stretched, warmup and decay keep their shares of the run.`;
  byId("law-length").textContent = `Length of the run: D / B = ${shown(steps, "count")} steps${same ? ", " : ". "}${own}`;
  byId("law-as-long").hidden = same;
  byId("law-as-long").value = String(found.tokens_as_long);
  byId("law-as-long").textContent = `take A's: D = ${short(found.tokens_as_long)}`;
}

function drawOptimum(found) {
  const [adamw, adamh] = found.curves;
  drawLength(found);
  byId("optimum-axis").textContent = `along ${AXIS_NAMES[found.axis]}`;
  byId("optimum-words").replaceChildren(...found.words.map((line) => element("li", { textContent: line })));
  drawChart(byId("plot-optimum"), {
    summary: `Best learning rate along ${AXIS_NAMES[found.axis]}. ${found.words.join(" ")}`,
    xLog: true, yLog: true, xLabel: AXIS_NAMES[found.axis], cursor: "at",
    curves: [
      { x: adamw.scale, y: adamw.learning_rate, of: "a", name: "W" },
      { x: adamh.scale, y: adamh.learning_rate, of: "b", dash: "7 4", name: "H" },
    ],
    marks: [{ x: found.at, y: found.learning_rate, of: "a", name: "AdamW here" }],
  });
  const rates = found.loss.learning_rate;
  const lowest = Math.min(...found.loss.excess.filter((value) => value !== null));
  drawChart(byId("plot-loss"), {
    summary: `Loss over the learning rate; the best is ${short(found.learning_rate ?? NaN)}, setting A has ${short(found.own.learning_rate)}.`,
    xLog: true, yLog: true, deepest: 30, xLabel: "learning rate of AdamW", cursor: "rate",
    curves: [{ x: rates, y: found.loss.excess.map((value) => (value === null || value > 30 * lowest ? null : value)), of: "a", name: "L" }],
    marks: [
      { x: found.own.learning_rate, y: found.own.excess, of: "b", square: true, name: "A's rate" },
      ...(found.learning_rate ? [{ x: found.learning_rate, y: lowest, of: "a", name: "best" }] : []),
    ],
  });
}
