// The controls: sliders, numbers, tools, and what they are set to.

export const by = (id) => document.getElementById(id);

const TOOLS = ["look", "wall", "free", "start", "goal", "pit", "cliff", "reward"];
const AMOUNTS = { goal: 1, pit: -1, cliff: -100, reward: 1 };
const RATES = [
  { name: "epsilon", title: "Exploration ε", min: 0, max: 1, step: 0.01 },
  { name: "learning_rate", title: "Step size α", min: 0.01, max: 1, step: 0.01, not: ["dqn"] },
  { name: "gamma", title: "Discount γ", min: 0, max: 1, step: 0.01 },
  { name: "trace_decay", title: "Trace decay λ", min: 0, max: 1, step: 0.01, agents: ["watkins-q"] },
  { name: "planning_steps", title: "Planned updates per step", min: 0, max: 100, step: 1, agents: ["dyna-q", "prioritized-sweeping"] },
  { name: "network_rate", title: "Learning rate of the network", min: 0.0001, max: 0.01, step: 0.0001, agents: ["dqn"] },
];
const FASTEST = 1e9;

/** The speed of a place of the slider: 1 step per second at 0, 10 million at 99, and no limit at 100. */
export const speedAt = (place) => (place >= 100 ? FASTEST : Number((10 ** ((7 * place) / 99)).toPrecision(2)));

export function placeOf(speed) {
  return speed >= FASTEST ? 100 : Math.round((99 * Math.log10(Math.max(1, speed))) / 7);
}

export function speedWords(speed) {
  if (speed >= FASTEST) return "as fast as it can";
  return `${speed.toLocaleString("en")} ${speed === 1 ? "step" : "steps"} per second`;
}

/** The tools as radio buttons; `chosen(tool)` is called with each choice. */
export function makeTools(chosen) {
  for (const tool of TOOLS) {
    const label = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
    Object.assign(input, { type: "radio", name: "tool", value: tool, checked: tool === "look" });
    text.textContent = tool === "look" ? "look inside" : tool;
    input.onchange = () => {
      if (tool in AMOUNTS) by("amount").value = AMOUNTS[tool];
      by("amount-label").hidden = !(tool in AMOUNTS);
      chosen(tool);
    };
    label.append(input, text);
    by("tools").append(label);
  }
  by("amount-label").hidden = true;
}

/** The sliders of the settings; `changed(name, value)` is called as they move. */
export function makeRates(changed) {
  for (const rate of RATES) {
    const label = document.createElement("label"), output = document.createElement("output"), input = document.createElement("input");
    label.className = "slider";
    label.dataset.rate = rate.name;
    Object.assign(input, { type: "range", id: rate.name, min: rate.min, max: rate.max, step: rate.step });
    input.oninput = () => {
      output.textContent = input.value;
      changed(rate.name, Number(input.value));
    };
    label.append(`${rate.title} `, output, input);
    by("settings").append(label);
  }
}

export function showRates(settings, agents) {
  for (const rate of RATES) {
    const label = document.querySelector(`[data-rate="${rate.name}"]`), input = by(rate.name);
    label.hidden = !agents.some((agent) => (rate.agents ? rate.agents.includes(agent) : !rate.not?.includes(agent)));
    if (document.activeElement !== input) input.value = settings[rate.name];
    label.querySelector("output").textContent = String(+Number(settings[rate.name]).toPrecision(4));
  }
}

/** Shows the numbers of a grid; with `all`, also in an input that is being typed in. */
export function showEnvironment(grid, all = false) {
  const set = (id, value) => { if (all || document.activeElement !== by(id)) by(id).value = value; };
  set("slip", grid.slip);
  by("slip-value").textContent = String(+grid.slip.toPrecision(3));
  set("slip-to", grid.slip_to);
  set("step-reward", grid.step_reward);
  set("limit", grid.time_limit ?? "");
  set("rows", grid.cells.length);
  set("columns", grid.cells[0].length);
}

export function readView() {
  return {
    color: by("color").value, arrows: by("show-arrows").checked, exact: by("show-exact").checked,
    route: by("show-route").checked, numbers: by("show-numbers").checked,
  };
}

/** Calls `action` with the newest arguments, at most every `pause` milliseconds, and always with the last ones. */
export function throttled(action, pause) {
  let waiting = null, timer = 0;
  const fire = () => {
    timer = 0;
    if (waiting) { const given = waiting; waiting = null; action(...given); timer = setTimeout(fire, pause); }
  };
  return (...given) => {
    waiting = given;
    if (!timer) fire();
  };
}
