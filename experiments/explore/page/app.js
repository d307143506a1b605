// What happens when something is set, and what is drawn of an answer.

const FACTS = [
  ["equilibrium_rms", "equilibrium RMS"],
  ["final_rms", "final RMS"],
  ["relaxation_steps", "relaxation (steps)", "count"],
  ["num_relaxations", "relaxations in the run"],
  ["transient_steps", "transient ends (step)", "count"],
  ["angular_update_equilibrium", "angle at equilibrium (rad)"],
  ["mean_angle", "mean angle (rad)"],
  ["final_angular_update", "final angle (rad)"],
  ["adamh_learning_rate", "AdamH of the same angle, η"],
];
const NARROW = matchMedia("(max-width: 820px)");
const MAP_FIELDS = { learning_rate: "1e-3", weight_decay: "0.1" }; // what the map does not hang on

// Under a falling rate the norm may only pass the equilibrium of the peak rate: no transient ends there.
const firstWithin = (tolerance) => `first within ${short(100 * tolerance)} %`;

const settings = () => (state.b ? ["a", "b"] : ["a"]);
const askers = Object.fromEntries(
  ["a", "b"].map((of) => [of, asker("setting", () => (state[of] ? queryOf(state[of]) : null), (answer, version) => showAnswer(of, answer, version), (error, version) => showRefusal(of, error, version))]),
);
const mapOf = (of) => queryOf({ ...state[of], ...MAP_FIELDS, optimizer: valueOf(state[of], "optimizer") });
const mapAsker = asker("map", () => (state.tab === "run" ? mapOf(state.editing) : null), showMap, () => {});
const optimumAsker = asker("optimum", () => (state.tab === "optimum" ? `${queryOf(state.a)}&${new URLSearchParams(Object.entries(state.law).map(([name, text]) => [`law.${name}`, text]))}` : null), showOptimum, refuseOptimum);
const refusals = { a: null, b: null };

// Setting something

// Half a number is no question: what is typed waits for a pause, a slider for nothing.
const TYPING = 300; // milliseconds
let typed = null;

function setField(name, text, isFinal, isTyped = false) {
  clearTimeout(typed);
  const of = state.editing;
  const set = () => state[of] && change(of, { [name]: text }, `${of}.${name}`, isFinal);
  if (isTyped && !isFinal) typed = setTimeout(set, TYPING);
  else set();
}

function change(of, fields, gestureName, isFinal) {
  const before = queryOf(state[of]);
  for (const [name, text] of Object.entries(fields)) state[of][name] = text;
  if (queryOf(state[of]) === before) return;
  moved();
  remember(gestureName, isFinal);
  show();
}

const later = (wait, run) => {
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, wait);
  };
};
const refreshSlow = later(180, () => {
  mapAsker.refresh();
  if (state.tab === "optimum" && optimumAsker.key !== null) byId("law-said").textContent = "computing …";
  optimumAsker.refresh();
});

// The page of the state: fields at once, numbers when they come.
function show() {
  const form = byId("controls");
  form.className = state.editing;
  showSetting(state[state.editing]);
  showLaw(state.law);
  for (const of of ["a", "b"]) {
    byId(`edit-${of}`).setAttribute("aria-checked", String(state.editing === of));
    byId(`edit-${of}`).tabIndex = state.editing === of ? 0 : -1;
  }
  byId("edit-b").lastChild.textContent = state.b ? "B" : "add B";
  byId("drop-b").hidden = !state.b;
  for (const tab of ["run", "optimum"]) {
    byId(`tab-${tab}`).setAttribute("aria-selected", String(state.tab === tab));
    byId(`tab-${tab}`).tabIndex = state.tab === tab ? 0 : -1;
    byId(`view-${tab}`).hidden = state.tab !== tab;
  }
  byId("log-steps").checked = state.logSteps;
  refreshAll();
}

function refreshAll() {
  for (const of of settings()) askers[of].refresh();
  drawMapNow();
  refreshSlow();
}

// Showing answers

function showAnswer(of, answer, version) {
  refusals[of] = null;
  draw();
  answered(version);
}

function showRefusal(of, error, version) {
  refusals[of] = error;
  draw();
  answered(version);
}

const known = () => settings().filter((of) => askers[of].answer).map((of) => [of, askers[of].answer]);

function draw() {
  const refusal = refusals[state.editing];
  complain(refusal?.field, refusal?.message ?? "");
  const stale = Boolean(refusal);
  for (const node of document.querySelectorAll("#facts, #words, #view-run .plots")) node.classList.toggle("stale", stale);
  if (state.tab !== "run" || !known().length) {
    drawCommands();
    return;
  }
  drawFacts();
  drawTrajectory("plot-rms", "weight_rms", "equilibrium_rms");
  drawTrajectory("plot-angle", "angular_update", "angular_update_equilibrium");
  drawRate();
  drawMapNow();
  drawCommands();
  sayLater();
}

const sayLater = later(350, () => {
  const own = askers[state.editing].answer;
  if (!own) return;
  byId("words").textContent = refusals[state.editing] ? "" : own.words;
  byId("worth").textContent = own.worth;
});

function drawFacts() {
  const columns = known();
  const cells = FACTS.map(([name, label, kind]) => {
    const values = columns.map(([, answer]) => answer.answer[name]);
    const texts = values.map((value, place) => {
      if (name !== "transient_steps") return shown(value, kind);
      const needed = columns[place][1].answer.steps_to_equilibrium;
      if (value === null) return needed ? `– (takes ${shown(needed, "count")})` : "–";
      return `${shown(value, kind)} (${Math.round((100 * value) / columns[place][1].num_steps)} %)`;
    });
    if (columns.length > 1) texts.push(values[0] && values[1] ? `× ${short(values[1] / values[0])}` : "–");
    const passing = name === "transient_steps" && columns.find(([, answer]) => answer.passes_equilibrium);
    return [passing ? `${firstWithin(passing[1].tolerance)} of the peak rate's equilibrium (step)` : label, texts];
  });
  const heads = columns.map(([of]) => `<i class="key ${of}"></i>${of.toUpperCase()}`);
  if (columns.length > 1) heads.push("B / A");
  const ratio = (place) => (place === 2 ? ' class="ratio"' : "");
  const across = () => `<thead><tr><td></td>${cells.map(([label]) => `<th scope="col">${escaped(label)}</th>`).join("")}</tr></thead><tbody>${heads.map((head, place) => `<tr${ratio(place)}><th scope="row">${head}</th>${cells.map(([, texts]) => `<td>${escaped(texts[place])}</td>`).join("")}</tr>`).join("")}</tbody>`;
  const down = () => `<thead><tr><td></td>${heads.map((head) => `<th scope="col">${head}</th>`).join("")}</tr></thead><tbody>${cells.map(([label, texts]) => `<tr><th scope="row">${escaped(label)}</th>${texts.map((text, place) => `<td${ratio(place)}>${escaped(text)}</td>`).join("")}</tr>`).join("")}</tbody>`;
  byId("facts").innerHTML = `<table>${NARROW.matches ? down() : across()}</table>`;
}

// Steps are counted from 1 on a logarithmic axis, which has no 0.
const onAxis = (steps) => (state.logSteps ? steps.map((step) => step + 1) : steps);

function drawTrajectory(id, quantity, settledName) {
  const spec = { curves: [], levels: [], bands: [], marks: [], points: [] };
  const told = [];
  for (const run of runs.filter((each) => shownRuns.has(each.place))) {
    for (const curve of run.curves) if (curve[quantity]) spec.curves.push({ x: onAxis(curve.step), y: curve[quantity], of: "measured", faint: true, dash: curve.predicted ? "3 3" : "" });
    spec.points.push(...endsOf(run, quantity));
  }
  for (const [of, { answer, curve, tolerance, num_steps, passes_equilibrium }] of known()) {
    const simulated = simulations[of]?.key === askers[of].key ? simulations[of] : null;
    if (simulated) addSimulation(spec, simulated, quantity);
    spec.curves.push({ x: onAxis(curve.step), y: curve[quantity], of, name: of.toUpperCase(), dash: of === "b" ? "7 4" : "" });
    const settled = answer[settledName];
    if (settled) spec.levels.push({ y: settled, of, spread: quantity === "weight_rms" && of === state.editing ? tolerance : 0 });
    const end = answer.transient_steps;
    if (end !== null && end > 0 && end < num_steps) {
      const place = nearest(curve.step, end);
      spec.marks.push({ x: onAxis([end])[0], y: curve[quantity][place], of, square: of === "b", name: quantity === "weight_rms" ? (passes_equilibrium ? firstWithin(tolerance) : "transient ends") : "" });
    }
    told.push(`${of.toUpperCase()} from ${short(curve[quantity][0])} to ${short(curve[quantity].at(-1))}`);
  }
  const all = [...spec.curves.flatMap((curve) => curve.y), ...spec.points.map((point) => point.y)].filter((value) => value > 0);
  const wide = all.reduce((high, value) => Math.max(high, value), 0) > 10 * all.reduce((low, value) => Math.min(low, value), Infinity);
  const last = Math.max(...known().map(([, each]) => each.num_steps), ...spec.curves.map((curve) => curve.x.at(-1)));
  drawChart(byId(id), {
    ...spec, xLog: state.logSteps, yLog: wide, deepest: 1e4, x: [state.logSteps ? 1 : 0, last], xLabel: "step",
    summary: `${quantity === "weight_rms" ? "Weight RMS" : "Angle per step in radians"} over the steps: ${told.join("; ")}. Arrow keys read values.`,
  });
}

function drawRate() {
  drawChart(byId("plot-rate"), {
    xLog: state.logSteps, yLog: false, x: [state.logSteps ? 1 : 0, Math.max(...known().map(([, each]) => each.num_steps))],
    summary: "Learning rate over the steps",
    curves: known().map(([of, { curve }]) => ({ x: onAxis(curve.step), y: curve.learning_rate, of, name: of.toUpperCase(), dash: of === "b" ? "7 4" : "" })),
  });
}

function showMap() {
  drawMapNow();
}

function drawMapNow() {
  if (state.tab !== "run") return;
  const found = mapAsker.answer;
  const elsewhere = settings().filter((of) => mapOf(of) !== mapOf(state.editing)).map((of) => of.toUpperCase());
  byId("map-of").textContent = !state.b ? "" : elsewhere.length ? `, of setting ${state.editing.toUpperCase()}` : ", of settings A and B";
  byId("map-said").textContent = (found?.said ?? "computing …") + (elsewhere.length && found?.fraction ? ` The map of ${elsewhere[0]}, faint here, is another.` : "");
  const points = settings().map((of) => ({ of, isElsewhere: elsewhere.includes(of.toUpperCase()), rate: asNumber(valueOf(state[of], "learning_rate")), decay: asNumber(valueOf(state[of], "weight_decay")) }));
  const ends = runs.filter((run) => shownRuns.has(run.place)).flatMap((run) => run.ends);
  drawMap(byId("plot-map"), found, points, ends);
}

function showOptimum(answer, version) {
  complainOfLaw(null, "");
  drawOptimum(answer);
  answered(version);
}

function refuseOptimum(error, version) {
  complainOfLaw(error.field, error.message);
  if (error.field in controls) complain(error.field, error.message);
  answered(version);
}

function drawCommands() {
  const lines = known().map(([of, answer]) => [of, answer.command]);
  const node = byId("commands");
  if (node.told === JSON.stringify(lines)) return;
  node.told = JSON.stringify(lines);
  node.replaceChildren(
    ...lines.map(([of, command]) => {
      const button = element("button", { textContent: "copy", "aria-label": `copy the command line of ${of.toUpperCase()}` });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(command);
          button.textContent = "copied";
        } catch {
          getSelection().selectAllChildren(button.previousSibling);
          button.textContent = "selected";
        }
        setTimeout(() => (button.textContent = "copy"), 1200);
      });
      const line = element("div", { className: "line" }, element("i", { className: `key ${of}` }), element("code", { textContent: command, tabIndex: 0 }), button);
      return line;
    }),
  );
}

// Wiring

function edit(of) {
  if (of === "b" && !state.b) state.b = { ...state.a };
  state.editing = of;
  remember(`edit-${of}`, null);
  show();
  draw();
}

function openTab(tab) {
  state.tab = tab;
  remember(`tab-${tab}`, null);
  show();
  draw();
}

function watchButtons(ids, choose) {
  ids.forEach((id, place) => {
    byId(id).addEventListener("click", () => choose(place));
    byId(id).addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = (place + step + ids.length) % ids.length;
      choose(next);
      byId(ids[next]).focus();
    });
  });
}

function start() {
  buildControls(byId("controls"), setField);
  buildLegend(byId("map-legend"));
  buildLaw((name, text, isFinal) => {
    if ((state.law[name] ?? lawBoxes[name].start) === text) return;
    state.law[name] = text;
    moved();
    remember(`law.${name}`, isFinal);
    refreshSlow();
  });
  watchButtons(["edit-a", "edit-b"], (place) => edit("ab"[place]));
  watchButtons(["tab-run", "tab-optimum"], (place) => openTab(["run", "optimum"][place]));
  byId("drop-b").addEventListener("click", () => {
    Object.assign(state, { b: null, editing: "a" });
    askers.b.key = askers.b.answer = null;
    remember("drop-b", null);
    show();
    draw();
  });
  byId("log-steps").addEventListener("change", (event) => {
    state.logSteps = event.target.checked;
    remember("log-steps", null);
    draw();
  });
  byId("simulate").addEventListener("click", simulate);
  const fields = (rate, decay) => (appliesTo(state[state.editing]).includes("weight_decay") ? { learning_rate: rate, weight_decay: decay } : { learning_rate: rate });
  watchMap(
    byId("plot-map"),
    (rate, decay, isFinal) => change(state.editing, fields(rate, decay), "map", isFinal),
    (dx, dy) => {
      const nudged = (name, step) => short(asNumber(valueOf(state[state.editing], name)) * 10 ** (step / 10));
      change(state.editing, fields(nudged("learning_rate", dx), nudged("weight_decay", dy)), "map", true);
    },
  );
  addEventListener("popstate", () => {
    clearTimeout(typed);
    forgetAddress();
    readAddress();
    gesture.of = null;
    document.activeElement?.blur?.();
    show();
    draw();
  });
  addEventListener("pagehide", flushAddress);
  const redrawn = later(80, () => {
    sizes = new WeakMap();
    draw();
    if (optimumAsker.answer && state.tab === "optimum") drawOptimum(optimumAsker.answer);
  });
  const watcher = new ResizeObserver(redrawn);
  for (const node of document.querySelectorAll("main, .plot")) watcher.observe(node);
  readAddress();
  show();
  loadRuns();
}

start();
