// Plain ES module. Of the maps of a figure it shows one: of a record, chosen by the slider, or of the exact answer.
for (const figure of document.querySelectorAll("figure.map")) {
  const slider = figure.querySelector("input"), choice = figure.querySelector("select");
  const readout = figure.querySelector(".readout");
  const records = [...figure.querySelectorAll("[data-record]")];
  if (!readout) continue;

  function show() {
    const wanted = choice?.value ?? "learned";
    const record = records[slider ? Number(slider.value) : 0];
    for (const each of records) each.hidden = wanted === "exact" || each !== record;
    for (const each of figure.querySelectorAll("[data-layer]")) each.hidden = each.dataset.layer !== wanted;
    readout.textContent = wanted === "exact" ? "the exact answer" : record.dataset.words;
    if (!slider) return;
    slider.disabled = wanted === "exact";
    slider.setAttribute("aria-valuetext", record.dataset.words);
  }

  slider?.addEventListener("input", show);
  choice?.addEventListener("change", show);
  show();
}
