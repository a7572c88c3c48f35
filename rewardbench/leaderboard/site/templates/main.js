// Puts the parts together: one function changes the state, writes the address and draws what depends on it.
const labelsBox = document.getElementById("labels"), find = document.getElementById("find"), training = document.getElementById("training");
const rule = document.getElementById("rule"), cost = document.getElementById("cost"), pairFilter = document.getElementById("pair-filter");

const draw = () => {
  for (const input of labelsBox.querySelectorAll("input")) input.checked = input.value === state.label;
  if (find.value !== state.find) find.value = state.find;
  training.value = state.training;
  rule.value = state.rule;
  cost.value = state.cost;
  drawTable();
  drawComparison();
  drawLater();
};

// The figures and the pairs wait for the next frame, so typing and sorting are answered at once.
let waiting = 0;
const drawLater = () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => { drawForest(); drawScatter(); drawRadar(); drawPairFilter(); drawPairs(); });
};

const change = (what) => {
  if ("label" in what || "pairs" in what) pairsShown = PAGE;
  if ("label" in what || "find" in what) rowsShown = ROWS_AT_ONCE;
  state = { ...state, ...what };
  writeFragment();
  draw();
};

const choose = (key, on) => {
  const others = state.chosen.filter((one) => one !== key);
  change({ chosen: on ? [...others, key].slice(-MOST_CHOSEN) : others });
};

for (const { label } of benchmark.dimensions) {
  const input = element("input", { type: "radio", name: "label", value: label });
  input.addEventListener("change", () => change({ label }));
  labelsBox.append(element("label", {}, input, element("span", {}, foreign(label))));
}
find.addEventListener("input", () => change({ find: find.value }));
training.addEventListener("change", () => change({ training: training.value }));
rule.addEventListener("change", () => change({ rule: rule.value }));
cost.addEventListener("change", () => change({ cost: cost.value }));
pairFilter.addEventListener("change", () => change({ pairs: pairFilter.value }));
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("reset").addEventListener("click", () => change(FIRST()));
document.getElementById("share").addEventListener("click", async (event) => {
  writeFragment();
  const button = event.currentTarget, before = button.textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Link copied";
  } catch {
    button.textContent = "The link is in the address bar";
  }
  setTimeout(() => { button.textContent = before; }, 2500);
});
document.getElementById("details-close").addEventListener("click", () => document.getElementById("details").close());
addEventListener("hashchange", () => { readFragment(); draw(); });
addEventListener("resize", () => drawLater());

drawHead();
readFragment();
document.getElementById("app").hidden = false;
draw();
