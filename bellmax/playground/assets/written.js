// An update as a sentence, an equation, and a table of its numbers, all of them the engine's.

import { ARROWS, WORDS, nameOf } from "./grids.js";

const INDIRECT = ["prioritized-sweeping", "dqn"]; // agents whose Q(s,a) does not move by α times its own error

const made = (tag, text = "", className = "") => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
};

/** A number with six digits; all of them stand in `data-value`. */
export function digits(value) {
  if (value === 0) return "0";
  const text = Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7 ? String(+value.toPrecision(6)) : value.toExponential(4);
  return text.replace("-", "−");
}

const bracketed = (value) => (value < 0 ? `(${digits(value)})` : digits(value));

/** The article that shows an update. */
export function writtenUpdate(update, grid, agentTitle) {
  const article = made("article", "", "update");
  article.dataset.table = update.table;
  article.dataset.step = update.step;
  article.dataset.state = update.state;
  article.append(made("h3", `Step ${update.step.toLocaleString("en")}, ${agentTitle}`, update.table ? "second" : "first"));
  const end = update.terminated ? " The episode ended." : update.over ? " The time limit cut the episode off." : "";
  article.append(made("p", `In ${nameOf(grid, update.state)} it chose ${WORDS[update.action]}, received ` +
    `${digits(update.reward)} and came to ${nameOf(grid, update.next_state)}.${end}`));
  article.append(made("p", update.equation, "equation"));
  if (!INDIRECT.includes(update.agent)) article.append(made("p", numbersLine(update), "numbers"));
  article.append(termTable(update));
  const others = changeWords(update);
  if (others) article.append(made("p", others));
  if (update.n_changes > 1 || update.planned) article.append(changeTable(update, grid));
  return article;
}

function numbersLine(update) {
  const next = update.terminated ? "0, as the episode ended," : `${digits(update.gamma)} × ${bracketed(update.bootstrap)}`;
  return `${digits(update.q_before)} + ${digits(update.alpha)} × [${digits(update.reward)} + ${next} − ` +
    `${bracketed(update.q_before)}] = ${digits(update.q_after)}`;
}

function termTable(update) {
  const table = made("table"), body = made("tbody");
  const row = (name, value, words, id, result = false) => {
    const line = made("tr", "", result ? "result" : "");
    const head = made("th", name);
    head.scope = "row";
    const number = made("td", digits(value), "number");
    number.dataset.name = id;
    number.dataset.value = String(value);
    line.append(head, number, made("td", words));
    body.append(line);
  };
  const which = update.table_number ? ` in table ${update.table_number}` : "";
  row("Q(s,a) before", update.q_before, `${ARROWS[update.action]}${which}`, "q_before");
  row("r", update.reward, "reward", "reward");
  row("γ", update.gamma, update.terminated ? "not used: the episode ended" : "discount", "gamma");
  for (const term of update.terms) row(term.symbol, term.value, term.words, "term");
  row("target", update.target, update.terminated ? "r" : "r + γ × value of s′", "target");
  row("TD error δ", update.td_error, "target − Q(s,a)", "td_error");
  if (update.agent !== "prioritized-sweeping") row("α", update.alpha, update.agent === "dqn" ? "learning rate of Adam" : "step size", "alpha");
  row("Q(s,a) after", update.q_after, update.planned ? "after planning" : "", "q_after", true);
  table.append(body);
  return table;
}

function changeWords(update) {
  if (update.agent === "watkins-q" && update.n_changes > 1) return `Traces carried the error to ${update.n_changes} pairs:`;
  if (update.planned && update.n_changes) return `With planning, ${update.n_changes} ${update.n_changes === 1 ? "pair" : "pairs"} changed:`;
  if (update.agent === "dqn") {
    return update.learns ? `The step is stored. A gradient step on ${update.batch} stored steps changed ${update.n_changes} values:`
      : `The step is stored. Learning begins after ${update.learning_starts} steps.`;
  }
  if (update.agent === "double-q") return "Shown is the mean of the two tables, which moved by half as much.";
  return update.n_changes ? "" : "No value changed.";
}

function changeTable(update, grid) {
  const table = made("table"), head = made("tr"), body = made("tbody"), top = made("thead");
  for (const name of ["cell", "action", "before", "after"]) {
    const cell = made("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  for (const change of update.changes) {
    const line = made("tr");
    line.append(made("td", nameOf(grid, change.state)), made("td", WORDS[change.action]),
      made("td", digits(change.before), "number"), made("td", digits(change.after), "number"));
    body.append(line);
  }
  top.append(head);
  table.append(top, body);
  return table;
}
