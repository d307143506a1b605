// Numbers and text as a person reads them, and elements.

const byId = (id) => document.getElementById(id);
const SIGNS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => SIGNS[sign]);

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A number on an axis or in a box: 0.003, 1e-5, 2e8.
function short(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return trimmed(value.toExponential(digits - 1)).replace("e+", "e");
  return trimmed(value.toPrecision(digits).includes("e") ? String(Math.round(value)) : value.toPrecision(digits));
}

function trimmed(text) {
  const [head, power] = text.split("e");
  const plain = head.includes(".") ? head.replace(/0+$/, "").replace(/\.$/, "") : head;
  return power === undefined ? plain : `${plain}e${power}`;
}

// A number in a table: digits that one can compare, counts with thousands.
function shown(value, kind) {
  if (value === null || value === undefined) return "–";
  if (kind === "count") return Math.round(value).toLocaleString("en");
  return short(value, 4);
}

// Where a slider or a point stands for a text; what the text is worth is said by the command line alone.
const POWERS = { k: 3, m: 6, b: 9, g: 9, t: 12 };

function asNumber(text) {
  const plain = String(text).trim().replace(/[_,](?=\d{3})/g, "").toLowerCase();
  const found = plain.match(/^([\d.]+)([kmbgt])$/);
  return plain === "" ? NaN : Number(found ? `${found[1]}e${POWERS[found[2]]}` : plain);
}
