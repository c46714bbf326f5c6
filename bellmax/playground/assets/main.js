// The page: what the server says goes to the boards and curves, what the reader does goes to the server.

import { Board } from "./board.js";
import { Curve, compact, drawChart } from "./charts.js";
import { token } from "./colors.js";
import { by, makeRates, makeTools, placeOf, readView, showEnvironment, showRates, speedAt, speedWords, throttled } from "./controls.js";
import { kindAt, painted, resized, sameSize, startsOf } from "./grids.js";
import { fromLink, saveFile, toLink } from "./links.js";
import { connect } from "./protocol.js";
import { digits, writtenUpdate } from "./written.js";

export const page = {
  titles: {}, presets: {}, grid: null, accepted: null, exact: null, why: "", agents: [], wanted: null, seed: 0, frame: null,
  boards: [], curves: [], tool: "look", updates: new Map(), drawn: [], count: 0, asked: 0, heard: -1, dirty: false, begun: false, edited: false, over: false,
};
const SLOW = 700; // milliseconds
const DASHES = [[], [7, 3]];
const COLORS = ["--first", "--second"];

const tell = connect({ message: receive, frame: receiveFrame, closed });

/** Sends a command; what was said of the ones before is no longer shown. */
function send(word, rest) {
  if (page.over) return;
  say("");
  page.asked = performance.now();
  tell(word, rest);
}
const sendGrid = throttled((grid) => send("grid", { grid }), 60);
const sendSettings = throttled((settings) => send("settings", { settings }), 60);
const sendSpeed = throttled((speed) => send("speed", { speed }), 60);

function say(words) {
  by("message").hidden = !words;
  by("message").textContent = words;
}

function closed(code) {
  say(code === 1013 ? by("message").textContent : "The server has ended, or the connection is closed. Start bellmax play again and open its address.");
  for (const each of document.querySelectorAll("button, input, select")) each.disabled = true;
  page.over = true;
  page.asked = page.heard = Infinity;
}

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

function receive(message) {
  if (message.kind === "hello") hello(message);
  else if (message.kind === "session") showSession(message);
  else if (message.kind === "grid") showGrid(message);
  else if (message.kind === "update") showUpdate(message);
  else if (message.kind === "no update") showNoUpdate(message);
  else if (message.kind === "refused") refused(message.words);
}

function hello(message) {
  [page.titles, page.presets] = [message.agents, message.presets];
  for (const name of Object.keys(message.presets)) by("preset").add(new Option(name, name));
  by("preset").add(new Option("own grid", ""));
}

function refused(words) {
  say(capital(words));
  page.wanted = null;
  if (page.accepted && page.edited) useGrid(page.accepted);
  page.edited = false;
  showInputs();
}

/** The inputs show what holds, also the one that is being typed in. */
function showInputs() {
  if (page.grid) showEnvironment(page.grid, true);
  by("seed").value = page.seed;
  page.boards.forEach((board, i) => { board.select.value = (page.wanted ?? page.agents)[i] ?? ""; });
}

function showSession(message) {
  const { agents, settings, seed, speed } = message;
  page.seed = seed;
  if (page.wanted?.join() === agents.join()) page.wanted = null;
  if (agents.join() !== page.agents.join() || !page.boards.length) {
    page.agents = agents;
    page.curves = agents.map(() => ({ returns: new Curve(), errors: new Curve() }));
    page.boards = agents.map((name, i) => new Board(i, page.titles, { use, key, agent: (chosen) => chooseAgent(i, chosen) }));
    if (agents.length === 1) page.boards.push(new Board(1, page.titles, { use, key, agent: (chosen) => chooseAgent(1, chosen) }));
    by("boards").replaceChildren(...page.boards.map((board) => board.element));
    page.boards.forEach((board, i) => {
      board.select.value = agents[i] ?? "";
      board.element.classList.toggle("empty", i >= agents.length);
      board.stage.hidden = i >= agents.length;
      if (page.grid && i < agents.length) board.shape(page.grid);
    });
  }
  if (document.activeElement !== by("seed")) by("seed").value = seed;
  by("speed").value = placeOf(speed);
  by("speed-value").textContent = speedWords(speed);
  showRates(settings, agents);
  arrange();
  page.dirty = true;
}

/** Boards lie below each other where only one has a grid, or where grids are wide. */
function arrange() {
  const wide = page.grid && page.grid.cells[0].length > 1.8 * page.grid.cells.length;
  by("boards").classList.toggle("stacked", page.agents.length < 2 || wide);
}

/** Asks the server for other agents; `wanted` are those asked for, until it answers with them. */
function chooseAgent(index, name) {
  const agents = [...(page.wanted ?? page.agents)];
  if (name) agents[index] = name;
  else agents.splice(index, 1);
  page.wanted = agents;
  forgetUpdates();
  send("agents", { agents });
}

function showGrid(message) {
  page.exact = message.exact;
  page.why = message.why;
  page.accepted = message.grid;
  if (!page.begun) { page.begun = true; useGrid(message.grid); begin(); return; }
  useGrid(page.edited ? page.grid : message.grid);
  history.replaceState(null, "", toLink(page.grid));
}

/** The grid of the address, if it has one, and else that of the server. */
function begin() {
  try {
    const grid = fromLink(location.hash);
    if (grid) propose(grid);
  } catch {
    say("The grid in the address is damaged; this is another one.");
  }
}

function useGrid(grid) {
  if (page.grid && !sameSize(page.grid, grid)) {
    page.frame = null;
    forgetUpdates();
  }
  page.grid = grid;
  page.boards.slice(0, page.agents.length).forEach((board) => board.shape(grid));
  arrange();
  const name = Object.keys(page.presets).find((each) => JSON.stringify(page.presets[each]) === JSON.stringify(grid));
  by("preset").value = name ?? "";
  showEnvironment(grid);
  const exact = page.exact;
  by("exact-words").textContent = exact
    ? `Exact answer: the best expected discounted return from the start is ${digits(exact.start_value)}` +
      `${exact.bound === null ? "." : `, within ${exact.bound.toExponential(1)}.`}`
    : `There is no exact answer: ${page.why}.`;
  page.dirty = true;
}

/** Edits the grid: here at once, so that the next edit is one of this grid, and on the server. */
function change(grid) {
  page.edited = true;
  useGrid(grid);
  sendGrid(grid);
}

/** Asks the server for a grid of a file or a link, which is shown when the server has checked it. */
function propose(grid) {
  page.edited = false;
  forgetUpdates();
  sendGrid(grid);
}

function use(state, { more, drag }) {
  if (page.tool === "look") {
    if (!drag) look(state);
    return;
  }
  const amount = Number(by("amount").value), before = page.grid;
  const grid = { ...painted(before, state, page.tool, Number.isFinite(amount) ? amount : 0, more), name: "own grid" };
  if (!startsOf(grid).length) { say("The grid needs a start. Make another cell the start first."); return; }
  if (JSON.stringify(grid.cells) === JSON.stringify(before.cells) && JSON.stringify(grid.rewards) === JSON.stringify(before.rewards)) return;
  change(grid);
}

function look(state) {
  for (const board of page.boards) if (board.grid) board.mark(state);
  const kind = kindAt(page.grid, state);
  if (kind !== "." && kind !== "S") {
    forgetUpdates("Nothing is learned in this cell: no action is chosen there.");
    return;
  }
  forgetUpdates();
  page.agents.forEach((_, table) => send("explain", { table, state }));
}

function key(letter) {
  const button = { p: "play", ".": "step", ",": "back" }[letter];
  if (button) by(button).click();
  return Boolean(button);
}

function forgetUpdates(words = "Click a cell, or take a step, to see the last update there with its numbers.") {
  page.updates.clear();
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = words;
  by("written").replaceChildren(hint);
}

function showUpdate(update) {
  if (update.state >= page.grid.cells.length * page.grid.cells[0].length) return;
  page.updates.set(update.table, writtenUpdate(update, page.grid, page.titles[update.agent]));
  by("written").replaceChildren(...[...page.updates.keys()].sort().map((each) => page.updates.get(each)));
}

function showNoUpdate(message) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = `${page.titles[page.agents[message.table]]} has not learned in this cell since the last change of the grid or of a setting.`;
  page.updates.set(message.table, hint);
  by("written").replaceChildren(...[...page.updates.keys()].sort().map((each) => page.updates.get(each)));
}

function receiveFrame(frame) {
  page.heard = performance.now();
  const size = page.grid ? page.grid.cells.length * page.grid.cells[0].length : 0;
  if (frame.states !== size || frame.tables.length !== page.curves.length) return; // of a grid before
  page.frame = frame;
  page.dirty = true;
  frame.tables.forEach((table, i) => {
    const { returns, errors } = page.curves[i];
    if (table.return === null) returns.cut(frame.step);
    else returns.add(frame.step, table.return, table.returns);
    errors.add(frame.step, table.error, 1);
  });
  by("play").textContent = frame.playing ? "Pause" : "Play";
  by("back").disabled = frame.step <= frame.first;
}

let lastWords = 0;

/** Says that something is being prepared, where the server does not answer at once. */
function watch() {
  const time = performance.now(), waits = page.frame?.playing ? page.heard : page.asked;
  by("busy").hidden = !(time - waits > SLOW && (page.frame?.playing || page.asked > page.heard));
}

function draw(time) {
  requestAnimationFrame(draw);
  if (!page.dirty || !page.grid) return;
  page.dirty = false;
  const { frame } = page, view = readView();
  const n = page.grid.cells.length * page.grid.cells[0].length;
  const exact = page.exact?.v.length === n ? page.exact : null;
  page.boards.forEach((board, i) => {
    if (i < page.agents.length && board.grid) board.draw(frame?.tables[i], exact, view);
  });
  if (!frame) return;
  page.count += 1;
  page.drawn.push(time);
  while (page.drawn.length > 1 && time - page.drawn[0] > 1000) page.drawn.shift();
  by("now").textContent = frame.step.toLocaleString("en");
  if (frame.playing && time - lastWords < 120) return;
  lastWords = time;
  frame.tables.forEach((table, i) => page.boards[i].say(table));
  by("measured").textContent = compact(frame.speed);
  by("measured").dataset.value = String(frame.speed);
  by("frames").textContent = frame.playing ? String(page.drawn.length) : "0";
  drawCurves(frame);
}

function drawCurves(frame) {
  const of = (name) => page.curves.map((each, i) => ({ curve: each[name], color: token(COLORS[i]), dash: DASHES[i] }));
  drawChart(by("returns"), of("returns"), frame.step);
  drawChart(by("errors"), of("errors"), frame.step, { logarithmic: true });
  for (const name of ["returns", "errors"]) {
    const spans = page.curves.map((each, i) => {
      const span = document.createElement("span"), last = each[name].last;
      span.className = i ? "second" : "first";
      span.textContent = `${i ? "╌" : "━"} ${page.titles[page.agents[i]]} ${last === null ? "–" : digits(+last.toPrecision(4))}`;
      return span;
    });
    by(`${name}-legend`).replaceChildren(...spans);
    by(name).setAttribute("aria-label", `${name === "returns" ? "Return per episode" : "Error"}: ${spans.map((each) => each.textContent.slice(2)).join(", ")}`);
  }
}

function wire() {
  makeTools((tool) => { page.tool = document.body.dataset.tool = tool; });
  makeRates((name, value) => sendSettings({ [name]: value }));
  by("play").onclick = () => send(page.frame?.playing ? "pause" : "play");
  by("step").onclick = () => send("step", { steps: 1 });
  by("many").onclick = () => send("step", { steps: 1000 });
  by("back").onclick = () => { forgetUpdates(); send("back", { steps: 1 }); };
  by("reset").onclick = () => restart(Number(by("seed").value));
  by("seed").onchange = () => restart(Number(by("seed").value));
  by("speed").oninput = () => {
    const speed = speedAt(Number(by("speed").value));
    by("speed-value").textContent = speedWords(speed);
    sendSpeed(speed);
  };
  by("preset").onchange = () => { if (by("preset").value) change(page.presets[by("preset").value]); };
  const environment = (id, field, read) => { by(id).oninput = () => change({ ...page.grid, [field]: read(by(id).value), name: "own grid" }); };
  environment("slip", "slip", Number);
  environment("slip-to", "slip_to", String);
  const typed = (id, read) => {
    by(id).onchange = () => {
      change({ ...page.grid, ...read(by(id).value), name: "own grid" });
      showInputs();
    };
  };
  typed("step-reward", (value) => ({ step_reward: Number(value) }));
  typed("limit", (value) => ({ time_limit: value ? Number(value) : null }));
  for (const id of ["rows", "columns"]) {
    typed(id, () => resized(page.grid, ...["rows", "columns"].map((each) =>
      Math.min(20, Math.max(1, Math.round(Number(by(each).value)) || 1)))));
  }
  for (const id of ["color", "show-arrows", "show-exact", "show-route", "show-numbers"]) by(id).onchange = () => { page.dirty = true; };
  by("save").onclick = () => saveFile(page.grid);
  by("open").onclick = () => by("file").click();
  by("file").onchange = openFile;
  by("copy").onclick = copyLink;
  by("theme").onclick = () => setTheme(document.documentElement.dataset.theme !== "dark");
  window.addEventListener("hashchange", begin);
  new ResizeObserver(() => { page.dirty = true; }).observe(document.body);
}

function restart(seed) {
  forgetUpdates();
  send("reset", { seed });
}

async function openFile() {
  const [file] = by("file").files;
  by("file").value = "";
  if (!file) return;
  if (file.size > 60000) { say("The file is too large for a grid."); return; }
  try {
    const grid = JSON.parse(await file.text());
    propose(grid);
  } catch {
    say("This file is not a grid: it must be JSON with cells, as Save file writes it.");
  }
}

async function copyLink() {
  const link = toLink(page.grid);
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    say("Copied. Put it after the address of any playground, or start one with it: bellmax play '#w=...'");
  } catch {
    say("The link is now in the address of this page, from # on. Copy it from there.");
  }
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  by("theme").setAttribute("aria-pressed", String(dark));
  page.dirty = true;
}

setInterval(watch, 200);
setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
wire();
requestAnimationFrame(draw);
