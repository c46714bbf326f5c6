// One grid on a canvas: colors of values, triangles of Q, arrows of the policy, the route, the agent.

import { amountColor, css, inkOn, scale, token, valueColor } from "./colors.js";
import { columnsOf, greedy, kindAt, rewardsOf, routeOf, rowsOf } from "./grids.js";

const LETTERS = { S: "S", G: "G", O: "pit", C: "cliff" };
const AHEAD = [[0, -1], [1, 0], [0, 1], [-1, 0]];
const ROOM = 92; // pixels of a cell that holds the numbers of all actions
const CLOSE = 1e-9; // values this near, as a share of the largest, count as equal for arrows

const best = (q, s) => Math.max(q[4 * s], q[4 * s + 1], q[4 * s + 2], q[4 * s + 3]);

/** A number in at most five characters. */
export function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1000) return value.toExponential(0).replace("e+", "e");
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size < 0.005) return value.toExponential(0);
  return value.toFixed(2);
}

function acts(grid, s) {
  const kind = kindAt(grid, s);
  return kind === "." || kind === "S";
}

/** Draws the grid of a table. `view` is {color, arrows, exact, route, numbers}. */
export function drawGrid(canvas, grid, table, exact, view) {
  const rows = rowsOf(grid), columns = columnsOf(grid), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d"), size = width / columns;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const rewards = rewardsOf(grid), n = rows * columns, q = table ? table.q : new Float64Array(4 * n);
  const largest = largestOf(grid, q, exact, view.color, table), given = { q, table, exact, view, largest };
  const place = (s) => [(s % columns) * size, Math.floor(s / columns) * size];
  const diagonals = new Path2D(), backs = new Array(n), fills = new Map();
  for (let s = 0; s < n; s++) backs[s] = ground(context, grid, s, ...place(s), size, given, rewards[s], { diagonals, fills });
  for (const [color, path] of fills) { context.fillStyle = color; context.fill(path); }
  context.strokeStyle = css(scale().line);
  context.lineWidth = 0.5;
  context.stroke(diagonals);
  drawArrows(context, place, size, backs, given);
  for (let s = 0; s < n; s++) if (backs[s]) writeOn(context, grid, s, ...place(s), size, given, rewards[s], backs[s]);
  context.strokeStyle = css(scale().line);
  context.lineWidth = 1;
  context.beginPath();
  for (let i = 0; i <= rows; i++) { context.moveTo(0, i * size); context.lineTo(width, i * size); }
  for (let j = 0; j <= columns; j++) { context.moveTo(j * size, 0); context.lineTo(j * size, height); }
  context.stroke();
  if (view.route && table) drawRoute(context, grid, q, size);
  if (table && table.state >= 0 && table.state < n) drawAgent(context, table.state, columns, size);
}

function largestOf(grid, q, exact, color, table) {
  let largest = 0;
  for (let s = 0; s < rowsOf(grid) * columnsOf(grid); s++) {
    if (!acts(grid, s)) continue;
    if (color === "visits") largest = Math.max(largest, table ? table.visits[s] : 0);
    else if (color === "error") largest = Math.max(largest, exact ? Math.abs(exact.v[s]) : 0);
    else {
      if (exact) largest = Math.max(largest, Math.abs(exact.v[s]));
      else for (let a = 0; a < 4; a++) largest = Math.max(largest, Math.abs(q[4 * s + a]));
    }
  }
  return largest;
}

/** The color of a cell, or of its triangles; returns {color, value} of where an action is chosen, else null. */
function ground(context, grid, s, x, y, size, { q, table, exact, view, largest }, reward, paths) {
  const kind = kindAt(grid, s);
  if (kind === "#") {
    context.fillStyle = css(scale().wall);
    context.fillRect(x, y, size, size);
    return null;
  }
  if (!acts(grid, s)) {
    const color = valueColor(kind === "G" ? 1 : -1, 1);
    context.fillStyle = css(color);
    context.fillRect(x, y, size, size);
    write(context, LETTERS[kind], x + size / 2, y + size * (reward ? 0.38 : 0.5), size * (kind === "G" ? 0.3 : 0.22), inkOn(color), "600");
    if (reward && size > 22) write(context, short(reward), x + size / 2, y + size * 0.68, size * 0.2, inkOn(color));
    return null;
  }
  if (view.color === "triangles") return triangles(q, s, x, y, size, largest, paths);
  const back = plain(q, table, exact, s, view.color, largest);
  context.fillStyle = css(back.color);
  context.fillRect(x, y, size, size);
  return back;
}

/** The letters and numbers of a cell where an action is chosen. */
function writeOn(context, grid, s, x, y, size, { q, view, largest }, reward, back) {
  if (view.numbers && view.color === "triangles" && size >= ROOM) {
    AHEAD.forEach(([dx, dy], a) => {
      const value = q[4 * s + a], far = dx ? 0.3 : 0.36;
      write(context, short(value), x + size * (0.5 + far * dx), y + size * (0.5 + far * dy), size * 0.125, inkOn(valueColor(value, largest)));
    });
  } else if (view.numbers && view.color !== "triangles" && size >= 30) {
    write(context, short(back.value), x + size / 2, y + size * 0.8, Math.min(14, size * 0.22), inkOn(back.color));
  }
  if (kindAt(grid, s) === "S") mark(context, x, y, size, "S");
  if (reward && size > 22) write(context, short(reward), x + size * 0.82, y + size * 0.16, Math.max(8, size * 0.17), inkOn(back.color), "700");
}

function plain(q, table, exact, s, color, largest) {
  if (color === "visits") {
    const visits = table ? table.visits[s] : 0;
    return { value: visits, color: amountColor(visits, largest) };
  }
  if (color === "error") {
    let error = 0;
    for (let a = 0; a < 4; a++) error = Math.max(error, exact ? Math.abs(q[4 * s + a] - exact.q[s][a]) : 0);
    return { value: error, color: amountColor(error, largest) };
  }
  const value = color === "exact" ? (exact ? exact.v[s] : 0) : best(q, s);
  return { value, color: valueColor(value, largest) };
}

/** The triangles of the four actions; returns the highest value and its color, which is behind the arrows. */
function triangles(q, s, x, y, size, largest, { diagonals, fills }) {
  const cx = x + size / 2, cy = y + size / 2;
  const corners = [[x, y, x + size, y], [x + size, y, x + size, y + size], [x + size, y + size, x, y + size], [x, y + size, x, y]];
  let top = 0, back;
  for (let a = 0; a < 4; a++) {
    const value = q[4 * s + a], color = valueColor(value, largest), [x1, y1, x2, y2] = corners[a];
    if (!a || value > q[4 * s + top]) { top = a; back = { value, color }; }
    const ink = css(color);
    if (!fills.has(ink)) fills.set(ink, new Path2D());
    const path = fills.get(ink);
    path.moveTo(x1, y1);
    path.lineTo(x2, y2);
    path.lineTo(cx, cy);
    path.closePath();
  }
  diagonals.moveTo(x, y);
  diagonals.lineTo(x + size, y + size);
  diagonals.moveTo(x + size, y);
  diagonals.lineTo(x, y + size);
  return back;
}

/** The arrows of all cells, those of one color at once: few calls are quick. */
function drawArrows(context, place, size, backs, { q, exact, view, largest }) {
  const near = CLOSE * Math.max(largest, 1e-12), exactly = { lines: new Path2D(), heads: null }, own = new Map();
  const length = view.color === "triangles" && view.numbers && size >= ROOM ? 0.1 : 0.24;
  backs.forEach((back, s) => {
    if (!back) return;
    if (view.exact && exact) addArrows(exactly, exact.q[s], ...place(s), size, near, 0.34);
    if (!view.arrows) return;
    const ink = inkOn(back.color);
    if (!own.has(ink)) own.set(ink, { lines: new Path2D(), heads: new Path2D() });
    addArrows(own.get(ink), q.subarray(4 * s, 4 * s + 4), ...place(s), size, near, length);
  });
  context.lineCap = "round";
  context.strokeStyle = token("--focus");
  context.lineWidth = Math.max(1.5, size * 0.05);
  context.stroke(exactly.lines);
  context.lineWidth = Math.max(1.2, size * 0.035);
  for (const [ink, { lines, heads }] of own) {
    context.strokeStyle = context.fillStyle = ink;
    context.stroke(lines);
    context.fill(heads);
  }
}

/** Adds an arrow for each action of the highest value, none where all are equal; open ones have no `heads`. */
function addArrows({ lines, heads }, row, x, y, size, near, length) {
  const highest = Math.max(...row);
  if (row.every((value) => highest - value <= near)) return;
  const tip = size * length, wide = size * 0.1, cx = x + size / 2, cy = y + size / 2;
  for (let a = 0; a < 4; a++) {
    if (highest - row[a] > near) continue;
    const [dx, dy] = AHEAD[a], at = (ahead, aside) => [cx + ahead * dx - aside * dy, cy + ahead * dy + aside * dx];
    lines.moveTo(...at(-size * 0.04, 0));
    lines.lineTo(...at(tip, 0));
    if (heads) {
      heads.moveTo(...at(tip + wide * 0.6, 0));
      heads.lineTo(...at(tip - wide * 0.6, -wide * 0.85));
      heads.lineTo(...at(tip - wide * 0.6, wide * 0.85));
      heads.closePath();
    } else {
      lines.moveTo(...at(tip - wide, -wide));
      lines.lineTo(...at(tip, 0));
      lines.lineTo(...at(tip - wide, wide));
    }
  }
}

function write(context, text, x, y, size, ink, weight = "500") {
  context.fillStyle = ink;
  context.font = `${weight} ${Math.max(7, size)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y);
}

function mark(context, x, y, size, letter) {
  const radius = Math.max(5, size * 0.13);
  context.fillStyle = token("--ink");
  context.beginPath();
  context.arc(x + radius + 3, y + radius + 3, radius, 0, 7);
  context.fill();
  write(context, letter, x + radius + 3, y + radius + 3.5, radius * 1.25, token("--panel"), "700");
}

function drawRoute(context, grid, q, size) {
  const { path } = routeOf(grid, q), columns = columnsOf(grid);
  if (path.length < 2) return;
  context.strokeStyle = token("--ink");
  context.globalAlpha = 0.55;
  context.setLineDash([size * 0.12, size * 0.1]);
  context.lineWidth = Math.max(2, size * 0.06);
  context.lineJoin = "round";
  context.beginPath();
  path.forEach((s, i) => context[i ? "lineTo" : "moveTo"](((s % columns) + 0.5) * size, (Math.floor(s / columns) + 0.5) * size));
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

function drawAgent(context, s, columns, size) {
  const x = ((s % columns) + 0.5) * size, y = (Math.floor(s / columns) + 0.5) * size;
  context.beginPath();
  context.arc(x, y, size * 0.17, 0, 7);
  context.fillStyle = "#ffd23f";
  context.fill();
  context.lineWidth = Math.max(1.5, size * 0.035);
  context.strokeStyle = "#1d2a33";
  context.stroke();
}

export { best, greedy };
