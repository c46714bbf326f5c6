// A board: the canvas of one agent, and over it a grid of cells for the pointer, the keyboard and screen readers.

import { drawGrid } from "./drawing.js";
import { WORDS, columnsOf, greedy, kindAt, KINDS, nameOf, rewardsOf, routeOf, rowsOf } from "./grids.js";
import { digits } from "./written.js";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const ENDS = {
  goal: (n) => `Greedy route from the start: ${n} ${n === 1 ? "step" : "steps"} to the goal.`,
  pit: (n) => `The greedy route falls into a pit after ${n} ${n === 1 ? "step" : "steps"}.`,
  cliff: (n) => `The greedy route falls off the cliff after ${n} ${n === 1 ? "step" : "steps"}.`,
  circle: () => "The greedy route goes in a circle.",
  unknown: (n) => (n ? `The greedy route is known for ${n} ${n === 1 ? "step" : "steps"}.` : "No greedy route yet."),
};

export class Board {
  /** `on` has use(state, {more, drag}), key(letter), agent(name). */
  constructor(index, agents, on) {
    this.on = on;
    this.index = index;
    this.element = document.createElement("article");
    this.element.className = "board panel";
    this.element.innerHTML = `<header><span class="name"><span class="dot"></span>
      <select aria-label="Agent ${index + 1}"></select></span><p class="stats"></p></header>
      <div class="stage"><canvas aria-hidden="true"></canvas><div class="cells" role="grid"></div></div>
      <p class="route"></p>`;
    this.select = this.element.querySelector("select");
    for (const [name, title] of Object.entries(agents)) this.select.add(new Option(title, name));
    if (index) this.select.add(new Option("compare with another agent", ""));
    this.select.onchange = () => on.agent(this.select.value);
    this.canvas = this.element.querySelector("canvas");
    this.stage = this.element.querySelector(".stage");
    this.cells = this.element.querySelector(".cells");
    this.at = 0;
    this.painting = false;
    this.listen();
  }

  /** Makes the cells of a grid; the same elements stay where the size is the same. */
  shape(grid) {
    const rows = rowsOf(grid), columns = columnsOf(grid);
    this.grid = grid;
    if (this.rows !== rows || this.columns !== columns) {
      [this.rows, this.columns, this.at] = [rows, columns, 0];
      this.cells.replaceChildren();
      for (let i = 0; i < rows; i++) {
        const row = document.createElement("div");
        row.setAttribute("role", "row");
        for (let j = 0; j < columns; j++) {
          const cell = document.createElement("div");
          cell.setAttribute("role", "gridcell");
          cell.dataset.state = String(i * columns + j);
          cell.tabIndex = i || j ? -1 : 0;
          row.append(cell);
        }
        this.cells.append(row);
      }
      this.cells.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
      this.cells.style.gridTemplateRows = `repeat(${rows}, 1fr)`;
      this.stage.style.aspectRatio = `${columns} / ${rows}`;
      this.stage.style.maxInlineSize = `min(100%, ${(68 * columns) / rows}vh, ${columns * 110}px)`;
    }
    this.cells.setAttribute("aria-label", `Grid ${this.index + 1}: ${grid.name}, ${rows} rows, ${columns} columns`);
    const rewards = rewardsOf(grid);
    for (const cell of this.cells.querySelectorAll('[role="gridcell"]')) {
      const s = Number(cell.dataset.state);
      cell.setAttribute("aria-label", this.words(s, rewards[s]));
    }
  }

  words(state, reward) {
    return `${nameOf(this.grid, state)}: ${KINDS[kindAt(this.grid, state)]}${reward ? `, reward ${digits(reward)}` : ""}`;
  }

  cell(state) { return this.cells.querySelector(`[data-state="${state}"]`); }

  mark(state) {
    for (const each of this.cells.querySelectorAll('[aria-selected="true"]')) each.removeAttribute("aria-selected");
    if (state !== null) this.cell(state)?.setAttribute("aria-selected", "true");
  }

  focus(state) {
    this.cell(this.at).tabIndex = -1;
    this.at = state;
    const cell = this.cell(state);
    cell.tabIndex = 0;
    const kind = kindAt(this.grid, state);
    let words = this.words(state, rewardsOf(this.grid)[state]);
    if (this.table && (kind === "." || kind === "S")) {
      const a = greedy(this.table.q, state);
      words += `, value ${digits(this.table.q[4 * state + a])}, best action ${WORDS[a]}`;
    }
    cell.setAttribute("aria-label", words);
    cell.focus();
  }

  listen() {
    const stateOf = (event) => {
      const found = document.elementFromPoint(event.clientX, event.clientY)?.closest?.("[data-state]");
      return found && this.cells.contains(found) ? Number(found.dataset.state) : null;
    };
    this.cells.addEventListener("pointerdown", (event) => {
      const state = stateOf(event);
      if (state === null || event.button) return;
      this.painting = true;
      this.last = state;
      this.focus(state);
      this.on.use(state, { more: event.shiftKey, drag: false });
    });
    this.cells.addEventListener("pointermove", (event) => {
      if (!this.painting) return;
      const state = stateOf(event);
      if (state !== null && state !== this.last) this.on.use(state, { more: event.shiftKey, drag: true });
      this.last = state ?? this.last;
    });
    window.addEventListener("pointerup", () => { this.painting = false; });
    window.addEventListener("pointercancel", () => { this.painting = false; });
    this.cells.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (move) {
        const row = Math.floor(this.at / this.columns) + move[0], column = (this.at % this.columns) + move[1];
        if (row >= 0 && column >= 0 && row < this.rows && column < this.columns) this.focus(row * this.columns + column);
      } else if (event.key === "Enter" || event.key === " ") this.on.use(this.at, { more: event.shiftKey, drag: false });
      else if (!this.on.key(event.key.toLowerCase())) return;
      event.preventDefault();
    });
  }

  /** Draws a frame. */
  draw(table, exact, view) {
    this.table = table;
    drawGrid(this.canvas, this.grid, table, exact, view);
  }

  /** What is said below and above the grid. */
  say(table) {
    const route = routeOf(this.grid, table.q);
    const line = this.element.querySelector(".route");
    const words = ENDS[route.end](route.path.length - 1);
    if (line.textContent !== words) line.textContent = words;
    line.dataset.path = route.path.join(" ");
    line.dataset.end = route.end;
    const error = table.error === null ? "" : `, error ${digits(+table.error.toPrecision(3))}`;
    this.element.querySelector(".stats").textContent = `${table.episodes.toLocaleString("en")} episodes${error}`;
  }
}
