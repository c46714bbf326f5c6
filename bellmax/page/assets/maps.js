// Plain ES module. The slider over training: of the maps of a figure it shows one.
for (const figure of document.querySelectorAll("figure.map")) {
  const slider = figure.querySelector("input");
  if (!slider) continue;
  const steps = slider.dataset.steps.split(" ").map(Number);
  const readout = figure.querySelector(".readout");

  function show() {
    const at = Number(slider.value);
    for (const each of figure.querySelectorAll("[data-record]")) each.hidden = Number(each.dataset.record) !== at;
    readout.textContent = `after ${steps[at].toLocaleString("en-US")} ${figure.dataset.unit}`;
    slider.setAttribute("aria-valuetext", readout.textContent);
  }

  slider.addEventListener("input", show);
  show();
}
