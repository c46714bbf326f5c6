// A grid as the server reads it: cells of letters, rewards on entering. Functions return changed copies.

export const KINDS = { "#": "wall", ".": "free", S: "start", G: "goal", O: "pit", C: "cliff" };
export const ARROWS = ["↑", "→", "↓", "←"];
export const WORDS = ["up", "right", "down", "left"];
const MOVES = [[-1, 0], [0, 1], [1, 0], [0, -1]];

export const rowsOf = (grid) => grid.cells.length;
export const columnsOf = (grid) => grid.cells[0].length;
export const sameSize = (one, other) => rowsOf(one) === rowsOf(other) && columnsOf(one) === columnsOf(other);
export const kindAt = (grid, state) => grid.cells[Math.floor(state / columnsOf(grid))][state % columnsOf(grid)];

/** The reward on entering each cell [S]. */
export function rewardsOf(grid) {
  const rewards = new Float64Array(rowsOf(grid) * columnsOf(grid));
  for (const [row, column, reward] of grid.rewards) rewards[row * columnsOf(grid) + column] = reward;
  return rewards;
}

export function startsOf(grid) {
  const found = [];
  for (let s = 0; s < rowsOf(grid) * columnsOf(grid); s++) if (kindAt(grid, s) === "S") found.push(s);
  return found;
}

function withCell(grid, state, letter, reward) {
  const columns = columnsOf(grid), row = Math.floor(state / columns), column = state % columns;
  const cells = grid.cells.map((text, i) => (i === row ? text.slice(0, column) + letter + text.slice(column + 1) : text));
  const rewards = grid.rewards.filter(([i, j]) => i !== row || j !== column);
  if (reward) rewards.push([row, column, reward]);
  return { ...grid, cells, rewards };
}

/** The grid after a tool was used on a cell; a start moves there, or with `more` is added. */
export function painted(grid, state, tool, amount, more) {
  const kind = kindAt(grid, state);
  if (tool === "reward") return kind === "#" ? grid : withCell(grid, state, kind, amount);
  if (tool === "start") {
    const starts = startsOf(grid);
    const moved = !more && starts.length === 1 && kind !== "S" ? withCell(grid, starts[0], ".", 0) : grid;
    return withCell(moved, state, "S", 0);
  }
  const letter = Object.keys(KINDS).find((each) => KINDS[each] === tool);
  return withCell(grid, state, letter, ["goal", "pit", "cliff"].includes(tool) ? amount : 0);
}

/** The grid with so many rows and columns; new cells are free, and the first is a start if none is left. */
export function resized(grid, rows, columns) {
  const cells = Array.from({ length: rows }, (_, i) => (grid.cells[i] ?? "").padEnd(columns, ".").slice(0, columns));
  const rewards = grid.rewards.filter(([i, j]) => i < rows && j < columns);
  const smaller = { ...grid, cells, rewards };
  return startsOf(smaller).length ? smaller : withCell(smaller, 0, "S", 0);
}

/** Where a move leads if it does not slip. */
export function moved(grid, state, action) {
  const row = Math.floor(state / columnsOf(grid)) + MOVES[action][0], column = (state % columnsOf(grid)) + MOVES[action][1];
  if (row < 0 || column < 0 || row >= rowsOf(grid) || column >= columnsOf(grid)) return state;
  const to = row * columnsOf(grid) + column;
  return kindAt(grid, to) === "#" ? state : to;
}

/** The first action of the highest value. */
export function greedy(q, state) {
  let best = 0;
  for (let a = 1; a < 4; a++) if (q[state * 4 + a] > q[state * 4 + best]) best = a;
  return best;
}

/** The cells that greedy actions lead through from the first start without slips, and how that ends. */
export function routeOf(grid, q) {
  const path = [startsOf(grid)[0]], seen = new Set(path);
  for (;;) {
    const here = path[path.length - 1], kind = kindAt(grid, here);
    if (kind === "G" || kind === "O" || kind === "C") return { path, end: KINDS[kind] };
    const row = q.subarray(here * 4, here * 4 + 4);
    if (row.every((value) => value === row[0])) return { path, end: "unknown" };
    const next = moved(grid, here, greedy(q, here));
    if (seen.has(next)) return { path, end: "circle" };
    path.push(next);
    seen.add(next);
  }
}

export const nameOf = (grid, state) => `row ${Math.floor(state / columnsOf(grid))}, column ${state % columnsOf(grid)}`;
