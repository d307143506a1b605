// The fields: a box, and beside it a slider that moves the box. What they hold is text, and Python reads it.

const CONFIG = JSON.parse(byId("config").textContent);
const FIELDS = Object.fromEntries(CONFIG.fields.map((field) => [field.name, field]));
const ENDS = 1000; // positions of a slider

const controls = {}; // by name: {box, slider, row, error}

function highOf(field, setting) {
  return field.name === "warmup_steps" ? Math.max(100, asNumber(valueOf(setting, "num_steps")) || field.high) : field.high;
}

// What a field holds in a setting: its own text, or the default; betas have one for each optimizer.
function valueOf(setting, name) {
  if (setting[name] !== undefined) return setting[name];
  return defaultOf(setting, name);
}

function defaultOf(setting, name) {
  const optimizer = setting.optimizer ?? FIELDS.optimizer.default;
  return FIELDS[name].default || CONFIG.defaults[optimizer]?.[name] || "";
}

function appliesTo(setting) {
  const optimizer = valueOf(setting, "optimizer");
  return CONFIG.applies[optimizer]?.[valueOf(setting, "schedule")] ?? Object.keys(FIELDS);
}

function toPosition(field, value, high) {
  if (!Number.isFinite(value)) return null;
  if (field.scale === "log") return (ENDS * Math.log(Math.max(value, field.low) / field.low)) / Math.log(high / field.low);
  if (field.scale === "log-complement") return (ENDS * Math.log((1 - Math.min(value, high)) / (1 - field.low))) / Math.log((1 - high) / (1 - field.low));
  return (ENDS * (value - field.low)) / (high - field.low);
}

function fromPosition(field, position, high) {
  const share = position / ENDS;
  let value = field.low + share * (high - field.low);
  if (field.scale === "log") value = field.low * (high / field.low) ** share;
  if (field.scale === "log-complement") {
    const rest = (1 - field.low) * ((1 - high) / (1 - field.low)) ** share;
    return short(1 - Number(rest.toPrecision(2)), 6);
  }
  const rounded = Number(value.toPrecision(3));
  if (field.whole) return String(Math.round(rounded));
  return short(field.scale === "log" ? rounded : Number(value.toFixed(3)));
}

function buildControls(form, onInput) {
  const groups = {};
  for (const field of CONFIG.fields) {
    groups[field.group] ??= field.group === "More" ? element("details", {}, element("summary", { textContent: "more" })) : element("fieldset", {}, element("legend", { textContent: field.group }));
    groups[field.group].append(buildField(field, onInput));
  }
  form.append(...Object.values(groups));
  form.addEventListener("submit", (event) => event.preventDefault());
}

function buildField(field, onInput) {
  const id = `field-${field.name}`;
  const error = element("p", { id: `${id}-error`, className: "error" });
  const described = { "aria-describedby": `${id}-error`, title: field.hint };
  const label = element("label", { htmlFor: id, textContent: field.label, title: field.hint });
  let box;
  let row;
  let slider = null;
  if (field.kind === "check") {
    box = element("input", { type: "checkbox", id, ...described });
    row = element("div", { className: "field tick" }, element("label", { className: "check" }, box, field.label), error);
    box.addEventListener("change", () => onInput(field.name, box.checked ? "1" : "", true));
  } else if (field.kind === "select") {
    box = element("select", { id, ...described }, ...field.choices.map((choice) => element("option", { value: choice, textContent: choice || "its own" })));
    row = element("div", { className: "field wide" }, label, box, error);
    box.addEventListener("change", () => onInput(field.name, box.value, true));
  } else {
    box = element("input", { type: "text", id, inputMode: field.kind === "slider" ? "decimal" : "text", spellcheck: false, ...described });
    row = element("div", { className: "field" }, label, box);
    box.addEventListener("input", () => onInput(field.name, box.value, false, true));
    box.addEventListener("change", () => onInput(field.name, box.value, true));
    if (field.kind === "slider") {
      slider = element("input", { type: "range", id: `${id}-slider`, min: 0, max: ENDS, step: 1, "aria-label": `${field.label}, slider` });
      const move = (isFinal) => onInput(field.name, fromPosition(field, Number(slider.value), slider.high), isFinal);
      slider.addEventListener("input", () => move(false));
      slider.addEventListener("change", () => move(true));
      row.append(slider);
    }
    row.append(error);
  }
  controls[field.name] = { box, slider, row, error };
  return row;
}

// Put a setting into the fields; the one that is being typed into keeps its text.
function showSetting(setting) {
  const applies = new Set(appliesTo(setting));
  for (const [name, { box, slider, row }] of Object.entries(controls)) {
    row.hidden = !applies.has(name);
    const text = valueOf(setting, name);
    if (box.type === "checkbox") box.checked = text === "1";
    else if (box !== document.activeElement || box.tagName === "SELECT") box.value = text;
    if (slider) {
      slider.high = highOf(FIELDS[name], setting);
      const position = toPosition(FIELDS[name], asNumber(text), slider.high);
      if (position !== null && slider !== document.activeElement) slider.value = position;
      slider.setAttribute("aria-valuetext", text);
    }
  }
  const optimizer = valueOf(setting, "optimizer");
  for (const option of controls.decay.box.options) option.disabled = Boolean(option.value) && !CONFIG.decays[option.value].includes(optimizer);
}

// The line that refuses a setting, beside the field it speaks of, or below all of them.
function complain(field, line) {
  for (const [name, { box, error }] of Object.entries(controls)) {
    error.textContent = name === field ? line : "";
    if (name === field) box.setAttribute("aria-invalid", "true");
    else box.removeAttribute("aria-invalid");
  }
  const hidden = !field || !controls[field] || controls[field].row.hidden;
  byId("complaint").textContent = hidden ? line : "";
  if (!hidden && field) controls[field].row.closest("details")?.setAttribute("open", "");
}
