// Plain ES module. Charts: the lines of single seeds on demand, and values read out by pointer or arrow keys.

function shown(value) {
  if (value === null) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return String(Number(value.toPrecision(6)));
}

const seeds = document.getElementById("seeds");
seeds?.addEventListener("click", () => {
  const wanted = seeds.getAttribute("aria-pressed") !== "true";
  seeds.setAttribute("aria-pressed", String(wanted));
  document.documentElement.dataset.seeds = wanted ? "shown" : "hidden";
});

function nearest(steps, step) {
  let best = 0;
  steps.forEach((each, i) => {
    if (Math.abs(each - step) < Math.abs(steps[best] - step)) best = i;
  });
  return best;
}

function sentence(data, step) {
  const parts = data.lines.map((line) => {
    const i = nearest(line.steps, step);
    const between = line.low[i] === null ? "" : ` [${shown(line.low[i])}, ${shown(line.high[i])}]`;
    const elsewhere = line.steps[i] === step ? "" : ` (at ${shown(line.steps[i])})`;
    return `${data.lines.length > 1 ? line.name + " " : ""}${shown(line.middle[i])}${between}${elsewhere}`;
  });
  return `${data.axis} ${shown(step)}: ${parts.join("; ")}`;
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(document.getElementById(`${figure.id}-data`).textContent);
  const picture = figure.querySelector(".picture");
  const svg = picture.querySelector("svg"); // of two, which show one plot, with and without single seeds
  const readout = figure.querySelector(".readout");
  const cursor = document.createElement("div");
  const [left, top, width, height] = data.plot;
  const steps = [...new Set(data.lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  let at = -1;

  function read(next) {
    at = Math.max(0, Math.min(steps.length - 1, next));
    const step = steps[at];
    const scale = picture.clientWidth / svg.viewBox.baseVal.width;
    const share = (step - data.across[0]) / (data.across[1] - data.across[0]);
    cursor.className = "cursor";
    cursor.style.left = `${(left + share * width) * scale}px`;
    cursor.style.top = `${top * scale}px`;
    cursor.style.height = `${height * scale}px`;
    picture.append(cursor);
    readout.textContent = sentence(data, step);
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    read(nearest(steps, data.across[0] + ((x - left) / width) * (data.across[1] - data.across[0])));
  });
  picture.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      read(moves[event.key]);
    }
  });
}
