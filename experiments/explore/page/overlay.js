// What lies over the curves: what was measured, and a simulation.

const shownRuns = new Set();
const simulations = {}; // by setting: its question and its answer
let runs = [];

async function loadRuns() {
  try {
    runs = (await ask("measured")).measured.map((run, place) => ({ ...run, place }));
  } catch {
    return;
  }
  for (const run of runs) shownRuns.add(run.place);
  byId("measured").replaceChildren(...(runs.length ? runs.map(runRow) : [element("p", { className: "quiet", textContent: "lrbend explore --run PATH lays a run, a log or a table of a study over the curves." })]));
  draw();
}

function runRow(run) {
  const box = element("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    if (box.checked) shownRuns.add(run.place);
    else shownRuns.delete(run.place);
    draw();
  });
  const row = element("div", { className: "run" }, element("label", { className: "check" }, box, `${run.name} (${run.kind})`));
  if (run.fields) {
    const adopt = element("button", { textContent: "take its setting" });
    adopt.addEventListener("click", () => {
      state[state.editing] = { ...run.fields };
      moved();
      remember(`run-${run.place}`, null);
      show();
    });
    row.append(adopt);
  }
  for (const note of run.notes.slice(0, 3)) row.append(element("p", { className: "quiet", textContent: note }));
  return row;
}

async function simulate() {
  const of = state.editing;
  const key = queryOf(state[of]);
  const said = byId("simulate-said");
  byId("simulate").disabled = true;
  said.className = "quiet";
  said.textContent = "simulating … (the first one compiles)";
  try {
    const answer = await ask("simulation", key);
    simulations[of] = { key, ...answer };
    said.textContent = answer.said;
  } catch (error) {
    if (!(error instanceof Refused)) lost();
    said.className = "error";
    said.textContent = error instanceof Refused ? error.message : "the server is gone";
  }
  byId("simulate").disabled = false;
  draw();
}

function endsOf(run, quantity) {
  const own = state[state.editing];
  const near = (value, name) => value === null || Math.abs(Math.log(value / asNumber(valueOf(own, name)))) < 0.02;
  return run.ends.map((end) => ({
    x: end.num_steps,
    y: end[quantity === "weight_rms" ? "final_rms" : "mean_angle"],
    name: `${end.name}, learning rate ${end.learning_rate}`,
    faint: !(near(end.learning_rate, "learning_rate") && near(end.weight_decay, "weight_decay")),
  }));
}

function addSimulation(spec, { curve, standard_error: error }, quantity) {
  const spread = error[quantity].map((value) => 2 * (value ?? 0));
  spec.bands.push({ of: "simulated", x: onAxis(curve.step), low: curve[quantity].map((value, i) => value - spread[i]), high: curve[quantity].map((value, i) => value + spread[i]) });
  spec.curves.push({ x: onAxis(curve.step), y: curve[quantity], of: "simulated", faint: true, name: "sim" });
}
