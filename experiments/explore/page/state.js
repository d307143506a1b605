// The state, its address, and the server's answers. An address holds all that was set, and nothing else.

const state = { a: {}, b: null, editing: "a", tab: "run", logSteps: false, law: {} };

const ALWAYS = ["learning_rate", "weight_decay", "num_steps"]; // in every question, and so in every command line
const isDefault = (setting, name) => setting[name] === undefined || setting[name] === defaultOf(setting, name);

// A setting as the part of an address: what differs from the defaults.
function pairsOf(setting, prefix = "") {
  return Object.keys(FIELDS).filter((name) => !isDefault(setting, name)).map((name) => [prefix + name, setting[name]]);
}

function addressOf() {
  const pairs = [...pairsOf(state.a)];
  if (state.b) pairs.push(["b", "1"], ...pairsOf(state.b, "b."));
  if (state.editing === "b") pairs.push(["edit", "b"]);
  if (state.tab !== "run") pairs.push(["tab", state.tab]);
  if (state.logSteps) pairs.push(["steps", "log"]);
  for (const [name, text] of Object.entries(state.law)) if (text !== lawBoxes[name].start) pairs.push([`law.${name}`, text]);
  const query = new URLSearchParams(pairs).toString();
  return query ? `?${query}` : location.pathname;
}

function readAddress() {
  const query = new URLSearchParams(location.search);
  const found = { a: {}, b: query.get("b") === "1" ? {} : null, law: {} };
  for (const [key, text] of query) {
    if (key in FIELDS) found.a[key] = text;
    else if (key.startsWith("b.") && key.slice(2) in FIELDS && found.b) found.b[key.slice(2)] = text;
    else if (key.startsWith("law.") && key.slice(4) in lawBoxes) found.law[key.slice(4)] = text;
  }
  Object.assign(state, found, {
    editing: query.get("edit") === "b" && found.b ? "b" : "a",
    tab: query.get("tab") === "optimum" ? "optimum" : "run",
    logSteps: query.get("steps") === "log",
  });
}

// One gesture, a drag or a row of key strokes, is one entry of the history; browsers allow only so many writes.
const GESTURE = 1000; // milliseconds between moves of one thing
const WRITES = 200; // milliseconds between writes of the address
let gesture = { of: null, until: 0 };
let writing = null; // the timer of the next write
let unwritten = null; // the address of the last move, which may be another by the time it is written

function remember(of, isFinal) {
  const now = performance.now();
  const goesOn = gesture.of === of && now < gesture.until;
  gesture = { of, until: now + (isFinal === null ? 0 : GESTURE) };
  if (goesOn) {
    unwritten = addressOf();
    writing ??= setTimeout(flushAddress, WRITES);
    return;
  }
  flushAddress();
  const address = addressOf();
  if (new URL(address, location.href).href !== location.href) history.pushState(null, "", address);
}

function flushAddress() {
  if (unwritten !== null) history.replaceState(null, "", unwritten);
  forgetAddress();
}

function forgetAddress() {
  clearTimeout(writing);
  writing = unwritten = null;
}

function queryOf(setting) {
  const applies = new Set(appliesTo(setting));
  const told = Object.keys(FIELDS).filter((name) => applies.has(name) && (ALWAYS.includes(name) || !isDefault(setting, name)));
  return new URLSearchParams(told.map((name) => [name, valueOf(setting, name)])).toString();
}

class Refused extends Error {
  constructor({ error, field }) {
    super(error);
    this.field = field;
  }
}

// The server's answer to a question; `Refused` with its line, or `TypeError` where there is no server.
async function ask(question, query = "") {
  const response = await fetch(`/api/${question}?${query}`, { cache: "no-store" });
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer);
  return answer;
}

// Ask for what is wanted now, one question at a time: while one is answered, only the last of further ones is kept.
function asker(question, wanted, show, refused) {
  const self = { key: null, busy: false, answer: null };
  self.refresh = async () => {
    if (self.busy) return;
    self.busy = true;
    try {
      for (let key = wanted(); key !== null && key !== self.key; key = wanted()) {
        const version = moves.version;
        try {
          const answer = await ask(question, key);
          self.key = key;
          self.answer = answer;
          back();
          show(answer, version);
        } catch (error) {
          if (error instanceof Refused) {
            self.key = key;
            back();
            refused(error, version);
          } else if (error instanceof TypeError || error instanceof SyntaxError) {
            lost();
            break;
          } else throw error;
        }
      }
    } finally {
      self.busy = false;
    }
  };
  return self;
}

// How long each move waited for the picture that shows it.
const moves = { version: 0, waiting: [], latencies: [] };

function moved() {
  moves.version++;
  moves.waiting.push({ version: moves.version, at: performance.now() });
}

function answered(version) {
  const now = performance.now();
  moves.waiting = moves.waiting.filter((move) => {
    if (move.version <= version) moves.latencies.push(now - move.at);
    return move.version > version;
  });
  moves.latencies.splice(0, moves.latencies.length - 500);
  const last = moves.latencies.slice(-30).sort((p, q) => p - q);
  if (last.length) byId("latency").textContent = `${Math.round(last[last.length >> 1])} ms a move`;
}

// The server is gone, or back.
let looking = null;

function lost() {
  if (looking) return;
  moves.waiting = [];
  byId("gone").hidden = false;
  byId("gone").textContent = `The server is gone: what you see is its last answer. Start "lrbend explore --port ${location.port}" again; this page goes on by itself.`;
  looking = setInterval(async () => {
    try {
      await ask("alive");
      back();
      loadRuns();
      refreshAll();
    } catch {
      // it is still gone
    }
  }, 1000);
}

function back() {
  if (!looking) return;
  clearInterval(looking);
  looking = null;
  byId("gone").hidden = true;
}
