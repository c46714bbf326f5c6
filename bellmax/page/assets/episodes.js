// Plain ES module. An episode drawn from its observations: CartPole, MountainCar, Acrobot. It moves only when asked.
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, content = []) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

const line = (x1, y1, x2, y2, name) => make("line", { x1, y1, x2, y2, class: name });

function cartPole([position, , angle]) {
  const x = 300 + position * 110;
  return [
    line(36, 150, 564, 150, "ground"),
    make("rect", { x: x - 32, y: 126, width: 64, height: 24, rx: 4, class: "body" }),
    line(x, 126, x + 100 * Math.sin(angle), 126 - 100 * Math.cos(angle), "limb"),
    make("circle", { cx: x, cy: 126, r: 5, class: "joint" }),
  ];
}

const hill = (position) => 150 - 50 * (1 + Math.sin(3 * position));
const across = (position) => 30 + ((position + 1.2) / 1.8) * 540;

function mountainCar([position]) {
  const points = Array.from({ length: 73 }, (_, i) => -1.2 + i * 0.025).map((x) => `${across(x)},${hill(x)}`);
  return [
    make("polyline", { points: points.join(" "), class: "ground" }),
    line(across(0.5), hill(0.5), across(0.5), hill(0.5) - 34, "goal"),
    make("circle", { cx: across(position), cy: hill(position) - 10, r: 10, class: "body" }),
  ];
}

function acrobot([cosine1, sine1, cosine2, sine2]) {
  const first = Math.atan2(sine1, cosine1);
  const second = first + Math.atan2(sine2, cosine2);
  const x1 = 300 + 40 * Math.sin(first), y1 = 95 + 40 * Math.cos(first);
  const x2 = x1 + 40 * Math.sin(second), y2 = y1 + 40 * Math.cos(second);
  return [
    line(160, 55, 440, 55, "goal"),
    line(300, 95, x1, y1, "limb"),
    line(x1, y1, x2, y2, "limb"),
    make("circle", { cx: 300, cy: 95, r: 5, class: "joint" }),
    make("circle", { cx: x1, cy: y1, r: 5, class: "joint" }),
  ];
}

const DRAWINGS = { "CartPole-v1": cartPole, "CartPole-v0": cartPole, "MountainCar-v0": mountainCar, "Acrobot-v1": acrobot };

for (const figure of document.querySelectorAll("figure.episode")) {
  const data = JSON.parse(document.getElementById(`${figure.id}-data`).textContent);
  const slider = figure.querySelector("input.frame");
  const button = figure.querySelector("button");
  const readout = figure.querySelector(".readout");
  const picture = make("svg", { viewBox: "0 0 600 180", role: "img", "aria-label": `${data.world}, drawn from its observations` });
  let playing = 0;
  figure.querySelector(".canvas").append(picture);

  function show() {
    const t = Number(slider.value);
    picture.replaceChildren(...DRAWINGS[data.world](data.states[t]));
    const next = t < data.actions.length ? `action ${data.actions[t]}, predicted value ${data.predicted[t]}` : "the end";
    readout.textContent = `Step ${t.toLocaleString("en-US")}: ${next}`;
    slider.setAttribute("aria-valuetext", readout.textContent);
  }

  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "Play";
    button.setAttribute("aria-pressed", "false");
  }

  function frame() {
    if (Number(slider.value) >= Number(slider.max)) return stop();
    slider.value = String(Number(slider.value) + 1);
    show();
    playing = requestAnimationFrame(frame);
  }

  button.addEventListener("click", () => {
    if (playing) return stop();
    if (slider.value === slider.max) slider.value = "0";
    button.textContent = "Pause";
    button.setAttribute("aria-pressed", "true");
    playing = requestAnimationFrame(frame);
  });
  slider.addEventListener("input", show);
  show();
}
