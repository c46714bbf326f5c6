// Plain ES module. Recorded steps of a run, phase by phase: the flow, the equations with their numbers, and the code.
const MATH = "http://www.w3.org/1998/Math/MathML";
const SVG = "http://www.w3.org/2000/svg";
const MOST_BARS = 128;
const MOST_ROWS = 24; // of a table of values
const SECONDS_OF_PLAY = 1.6;

const { windows } = JSON.parse(document.getElementById("explainer-data").textContent);
const stage = document.getElementById("stage");
const part = (name) => stage.querySelector(`[data-part="${name}"]`);
const at = { window: 0, step: 0, phase: 0 };
let playing = null;

// ---- words

function shown(value) {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US").replace("-", "−");
  return String(Number(value.toPrecision(5))).replace("-", "−").replace("e−", "e-");
}

const words = (key) => key.replaceAll("_", " ");
const slug = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");

function make(name, content = [], attributes = {}) {
  const element = document.createElement(name);
  return fill(element, content, attributes);
}

function fill(element, content, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...[content].flat());
  return element;
}

const within = (space) => (name, content = [], attributes = {}) =>
  fill(document.createElementNS(space, name), content, attributes);
const math = within(MATH);
const svg = within(SVG);

function numbered(name, path, value, attributes = {}) {
  return make(name, shown(value), { ...attributes, "data-path": path, "data-value": JSON.stringify(value) });
}

// ---- where we are

const shownWindow = () => windows[at.window];
const shownStep = () => shownWindow().steps[at.step];
const shownPhase = () => shownStep().phases[at.phase];

function phaseNames(step) {
  const seen = {};
  return step.phases.map(({ name }) => {
    seen[name] = (seen[name] ?? 0) + 1;
    return seen[name] > 1 ? `${slug(name)}-${seen[name]}` : slug(name);
  });
}

function address(window, step, phase) {
  const { t } = windows[window].steps[step];
  const first = windows.findIndex((each) => each.steps.some((one) => one.t === t));
  const prefix = first === window ? "" : `window-${window + 1}-`;
  return `#${prefix}step-${t}-${phaseNames(windows[window].steps[step])[phase]}`;
}

function decoded(hash) {
  try {
    return decodeURIComponent(hash);
  } catch { // a damaged link
    return "";
  }
}

function find(hash) {
  const match = /^#(?:window-(\d+)-)?step-(\d+)(?:-(.+))?$/u.exec(decoded(hash));
  if (!match) return false;
  const candidates = match[1] ? [Number(match[1]) - 1] : windows.map((_, i) => i);
  for (const window of candidates) {
    const step = windows[window]?.steps.findIndex((each) => each.t === Number(match[2])) ?? -1;
    if (step >= 0) {
      const phase = match[3] ? phaseNames(windows[window].steps[step]).indexOf(match[3]) : 0;
      Object.assign(at, { window, step, phase: Math.max(phase, 0) });
      return true;
    }
  }
  return false;
}

function go(phases) {
  const { steps } = shownWindow();
  const last = () => steps[at.step].phases.length - 1;
  if (at.phase + phases < 0) {
    if (at.step === 0) return false;
    at.step -= 1;
    at.phase = last();
  } else if (at.phase + phases > last()) {
    if (at.step === steps.length - 1) return false;
    at.step += 1;
    at.phase = 0;
  } else {
    at.phase += phases;
  }
  return true;
}

function goSteps(steps) {
  const next = at.step + steps;
  if (next < 0 || next >= shownWindow().steps.length) return;
  at.step = next;
  at.phase = 0;
}

// ---- what is shown

function flow() {
  const step = shownStep();
  const names = phaseNames(step);
  const order = [...step.phases.keys()];
  const missing = shownWindow().flow.filter((name) => !step.phases.some((phase) => phase.name === name));
  const items = order.map((i) => {
    const link = make("a", words(step.phases[i].name), { href: address(at.window, at.step, i), "data-phase": names[i] });
    if (i < at.phase) link.className = "past";
    if (i === at.phase) link.setAttribute("aria-current", "step");
    return make("li", link);
  });
  const idle = missing.map((name) => make("li", make("span", words(name), { title: "not in this step" })));
  part("flow").replaceChildren(...items, ...idle);
}

// Whether a phase has recorded the number of a term under its name: of a batch, the equation is that of the first row.
function records(phase, piece) {
  const value = JSON.stringify(piece.value);
  const same = (each) => JSON.stringify(each) === value || (Array.isArray(each) && JSON.stringify(each[0]) === value);
  return Object.entries(phase.values).some(([key, each]) => words(key) === piece.name && same(each));
}

function equation(phase, index) {
  const known = index <= at.phase;
  const soFar = shownStep().phases.slice(0, at.phase + 1);
  const pieces = phase.equation.map((piece, i) => {
    if (typeof piece === "string") return math("mo", piece.trim(), { stretchy: "false" });
    const lit = index === at.phase || records(shownPhase(), piece);
    const isKnown = known || soFar.some((each) => records(each, piece));
    const value = Array.isArray(piece.value) ? list(piece.value) : shown(piece.value);
    const below = math("mtext", isKnown ? value : "·", {
      class: "number-below", "data-path": `equation.${index}.${i}`, "data-value": isKnown ? JSON.stringify(piece.value) : "",
    });
    const above = math("mi", piece.symbol, { mathvariant: "normal" });
    return math("mrow", math("munder", [above, below]), { class: lit ? "term lit" : "term", "data-name": piece.name });
  });
  const row = math("math", math("mrow", pieces), { display: "inline" });
  return make("div", [make("p", words(phase.name), { class: "note" }), row], {
    class: known ? "equation" : "equation waiting", "data-of": phase.name, tabindex: "0", role: "group",
    "aria-label": `Equation of ${words(phase.name)}`,
  });
}

function list(values, most = 6) {
  const some = values.slice(0, most).map((each) => (Array.isArray(each) ? list(each, 3) : shown(each)));
  return `[${some.join(", ")}${values.length > most ? ", …" : ""}]`;
}

function terms(phase) {
  const named = phase.equation.filter((piece) => typeof piece !== "string" && piece.name !== piece.symbol);
  const rows = named.map((piece) =>
    make("tr", [
      make("th", piece.symbol, { scope: "row" }), make("td", piece.name),
      make("td", Array.isArray(piece.value) ? list(piece.value) : shown(piece.value)),
    ]),
  );
  return rows.length ? [boxed(make("table", [make("caption", "Symbols"), make("tbody", rows)]), "Symbols")] : [];
}

function boxed(table, label) {
  return make("div", table, { class: "scroll values", tabindex: "0", role: "group", "aria-label": label });
}

const isNumbers = (value) => Array.isArray(value) && value.length > 0 && value.every((each) => typeof each !== "object" || each === null);
const isRows = (value) => Array.isArray(value) && value.length > 0 && value.every((each) => Array.isArray(each));
const isRecords = (value) => Array.isArray(value) && value.length > 0 && value.every((each) => each && typeof each === "object" && !Array.isArray(each));

function tableOf(caption, head, rows) {
  const top = make("thead", make("tr", head.map((each) => (each ? make("th", each, { scope: "col" }) : make("td")))));
  const body = make("tbody", rows);
  return boxed(make("table", [make("caption", caption), top, body]), caption);
}

function numbers(phase) {
  const blocks = [];
  const single = [];
  const columns = new Map(); // arrays of numbers, by their length
  for (const [key, value] of Object.entries(phase.values)) {
    if (isNumbers(value) && value.length > 1) {
      columns.set(value.length, [...(columns.get(value.length) ?? []), key]);
    } else if (isRecords(value)) {
      const head = Object.keys(value[0]);
      const rows = value.map((record, i) =>
        make("tr", head.map((name) => cell(`${key}.${i}.${name}`, record[name])), { class: "lit" }));
      blocks.push(tableOf(words(key), head.map(words), rows));
    } else if (isRows(value) && value.every(isNumbers)) {
      const rows = value.map((row, i) => make("tr", [make("th", String(i), { scope: "row" }), ...row.map((each, j) => cell(`${key}.${i}.${j}`, each))]));
      blocks.push(tableOf(words(key), ["", ...value[0].map((_, j) => String(j))], rows));
    } else if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      const rows = Object.entries(value).map(([name, each]) => make("tr", [make("th", words(name), { scope: "row" }), cell(`${key}.${name}`, each)]));
      blocks.push(tableOf(words(key), ["", ""], rows));
    } else {
      single.push(make("tr", [make("th", words(key), { scope: "row" }), cell(key, value)]));
    }
  }
  for (const keys of columns.values()) blocks.push(...arrays(phase.values, keys));
  if (single.length) blocks.unshift(boxed(make("table", [make("caption", "Numbers of this phase"), make("tbody", single)]), "Numbers of this phase"));
  return blocks;
}

function cell(path, value) {
  if (Array.isArray(value) || (value !== null && typeof value === "object"))
    return make("td", Array.isArray(value) ? list(value) : JSON.stringify(value), { "data-path": path, "data-value": JSON.stringify(value) });
  return numbered("td", path, value);
}

function arrays(values, keys) {
  const length = values[keys[0]].length;
  const chosen = typeof values.action === "number" ? values.action : -1;
  const perAction = keys.some((key) => /^q\b|^q_|_q$/u.test(key));
  const drawn = keys.filter((key) => length <= MOST_BARS && /^q$|^q_|_q$|prob|projected|quantile|atoms_/u.test(key));
  const pictures = drawn.map((key) => bars(values[key], words(key), perAction ? chosen : -1));
  const name = perAction ? "action" : "row";
  const rows = Array.from({ length }, (_, i) =>
    make("tr", [make("th", String(i), { scope: "row" }), ...keys.map((key) => numbered("td", `${key}.${i}`, values[key][i]))],
      perAction && i === chosen ? { class: "lit" } : {}));
  return [...pictures, tableOf(keys.map(words).join(", "), [name, ...keys.map(words)], rows)];
}

function bars(values, name, chosen) {
  const known = values.map((each) => (typeof each === "number" ? each : 0));
  const low = Math.min(0, ...known);
  const high = Math.max(0, ...known);
  const width = 400 / values.length;
  const y = (value) => 10 + (100 * (high - value)) / (high - low || 1);
  const marks = known.map((value, i) =>
    svg("rect", svg("title", `${i}: ${shown(values[i])}`), {
      x: (i + 0.1) * width, width: 0.8 * width, y: Math.min(y(value), y(0)), height: Math.max(Math.abs(y(value) - y(0)), 0.8),
      class: i === chosen ? "chosen" : "",
    }));
  const label = svg("text", name, { x: 0, y: 132 });
  const floor = svg("line", [], { x1: 0, x2: 400, y1: y(0), y2: y(0) });
  const best = chosen >= 0 ? `; action ${chosen} is chosen` : "";
  return svg("svg", [...marks, floor, label], {
    viewBox: "0 0 400 138", class: "bars", role: "img", "aria-label": `${name}: ${list(values, 18)}${best}`,
  });
}

// Q of a table as far as this window has seen it: rows by state, up to the phase that is shown, and what changed in it.
function knownRows() {
  const rows = new Map();
  let lit = new Set();
  let next = null;
  const set = (state, row) => {
    rows.delete(state); // the latest comes last
    rows.set(state, [...row]);
  };
  for (const [s, step] of shownWindow().steps.entries()) {
    for (const [p, phase] of step.phases.entries()) {
      if (s > at.step || (s === at.step && p > at.phase)) continue;
      const { obs, q, next_obs: following, next_q: ahead, changed } = phase.values;
      lit = new Set();
      if (Number.isInteger(obs) && isNumbers(q)) set(obs, q);
      if (Number.isInteger(following)) next = following;
      if (next !== null && isNumbers(ahead)) set(next, ahead);
      for (const { state, action, after } of isRecords(changed) ? changed : []) {
        const row = rows.get(state) ?? [];
        row[action] = after;
        set(state, row);
        lit.add(`${state} ${action}`);
      }
    }
  }
  return { rows, lit };
}

function qTable() {
  const isTable = shownWindow().steps.some((step) => step.phases.some((phase) => Array.isArray(phase.values.changed)));
  const { rows, lit } = isTable ? knownRows() : { rows: new Map() };
  if (!rows.size) return [];
  const states = [...rows.keys()].slice(-MOST_ROWS).sort((a, b) => a - b);
  const actions = Math.max(...states.map((state) => rows.get(state).length));
  const lines = states.map((state) =>
    make("tr", [
      make("th", shown(state), { scope: "row" }),
      ...Array.from({ length: actions }, (_, a) =>
        make("td", shown(rows.get(state)[a] ?? null), {
          "data-cell": `${state} ${a}`, "data-number": JSON.stringify(rows.get(state)[a] ?? null),
          class: lit.has(`${state} ${a}`) ? "lit" : "",
        })),
    ]));
  return [tableOf("Q(s, a), the rows that this window has seen", ["state", ...Array.from({ length: actions }, (_, a) => `action ${a}`)], lines)];
}

function show() {
  const focused = part("flow").contains(document.activeElement);
  const step = shownStep();
  const phase = shownPhase();
  const count = `${at.phase + 1} of ${step.phases.length}`;
  part("where").textContent = `Step ${shown(step.t)}, ${words(phase.name)} (${count}); step ${shown(step.episode_step)} of its episode`;
  flow();
  const withOne = step.phases.map((each, i) => [each, i]).filter(([each]) => each.equation.length);
  part("equations").replaceChildren(...withOne.map(([each, i]) => equation(each, i)), ...terms(phase));
  part("numbers").replaceChildren(...numbers(phase), ...qTable());
  part("code").textContent = phase.code;
  part("code-box").hidden = !phase.code;
  part("link").href = address(at.window, at.step, at.phase);
  const lastStep = at.step === shownWindow().steps.length - 1;
  part("back").disabled = at.step === 0 && at.phase === 0;
  part("forward").disabled = lastStep && at.phase === step.phases.length - 1;
  part("step-back").disabled = at.step === 0;
  part("step-forward").disabled = lastStep;
  part("windows").value = String(at.window);
  if (focused) part("flow").querySelector("[aria-current]").focus();
}

function move(change) {
  change();
  const hash = address(at.window, at.step, at.phase);
  show();
  if (location.hash !== hash) location.replace(hash);
}

function stop() {
  clearInterval(playing);
  playing = null;
  part("play").setAttribute("aria-pressed", "false");
}

// ---- buttons, keys and links

part("windows").append(...windows.map((each, i) => make("option", each.title, { value: i })));
part("windows").addEventListener("change", (event) => move(() => Object.assign(at, { window: Number(event.target.value), step: 0, phase: 0 })));
part("back").addEventListener("click", () => move(() => go(-1)));
part("forward").addEventListener("click", () => move(() => go(1)));
part("step-back").addEventListener("click", () => move(() => goSteps(-1)));
part("step-forward").addEventListener("click", () => move(() => goSteps(1)));
part("large").addEventListener("click", (event) => {
  event.currentTarget.setAttribute("aria-pressed", String(stage.classList.toggle("large")));
});
part("full").addEventListener("click", () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen()));
part("play").addEventListener("click", () => {
  if (playing) return stop();
  part("play").setAttribute("aria-pressed", "true");
  playing = setInterval(() => move(() => go(1) || stop()), 1000 * SECONDS_OF_PLAY);
});
document.addEventListener("fullscreenchange", () => {
  const full = document.fullscreenElement === stage;
  stage.classList.toggle("large", full);
  part("large").setAttribute("aria-pressed", String(full));
  if (full) stage.focus();
});

document.addEventListener("keydown", (event) => {
  const inside = stage.contains(document.activeElement);
  const free = document.activeElement === document.body && "only" in stage.dataset;
  const scrolls = event.target.closest?.("select, input, .scroll");
  if (!(inside || free) || scrolls || event.altKey || event.ctrlKey || event.metaKey) return;
  const full = document.fullscreenElement === stage;
  const moves = {
    ArrowRight: () => (event.shiftKey ? goSteps(1) : go(1)),
    ArrowLeft: () => (event.shiftKey ? goSteps(-1) : go(-1)),
    Home: () => Object.assign(at, { step: 0, phase: 0 }),
    End: () => Object.assign(at, { step: shownWindow().steps.length - 1, phase: shownWindow().steps.at(-1).phases.length - 1 }),
    ...(full ? { PageDown: () => go(1), PageUp: () => go(-1) } : {}),
  };
  if (event.key in moves) {
    event.preventDefault();
    move(moves[event.key]);
  }
});
window.addEventListener("hashchange", () => {
  if (find(location.hash)) show();
});
if (find(location.hash)) stage.scrollIntoView();
show();
