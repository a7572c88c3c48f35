// The ranking. Sorting and filtering work on the numbers of all rows; elements are made for those that are shown, a
// hundred at first, so 1,000 models answer as quickly as ten.
const ROWS_AT_ONCE = 100;
let rowsShown = ROWS_AT_ONCE;
const COLUMNS = [
  { key: "choose", name: "Compare", hidden: true },
  { key: "rank", name: "Rank", of: (row) => row.rank?.rank ?? null, number: true, up: true },
  { key: "model", name: "Model", of: (row) => row.model.toLowerCase() },
  { key: "with_ties", name: "With ties", of: (row) => withTies(row).value, number: true },
  { key: "without_ties", name: "Without ties", of: (row) => row.without_ties.value, number: true },
  { key: "coverage", name: "Coverage", of: (row) => row.coverage, number: true },
  { key: "clips_per_s", name: "Clips/s", of: (row) => row.cost.clips_per_s, number: true },
  { key: "host_memory", name: "Host mem.", of: (row) => row.cost.host_memory, number: true },
  { key: "gpu_memory", name: "GPU mem.", of: (row) => row.cost.gpu_memory, number: true },
  { key: "parameters", name: "Parameters", of: (row) => row.parameters, number: true },
  { key: "licence", name: "Weights", of: (row) => row.weights_licence.toLowerCase() },
  { key: "training", name: "Training", of: (row) => row.training_data },
];
const made = new Map();

// One rater against the others, as if a model: what the numbers below can be held against.
const raters = (found) => found
  ? `; one of ${whole(found.n_raters)} raters against the others: with ties ${proportion(found.with_ties)}, half credit for ties ${proportion(found.half_credit)}`
  : "";

const numberCell = (text, below, mark) => {
  const cell = element("td", { class: `num ${mark ?? ""}` }, text);
  if (mark) cell.append(element("span", { class: "mark", "aria-label": `${mark} the floor`, role: "img" }, mark === "above" ? "▲" : "▼"));
  if (below) cell.append(element("span", { class: "ci95" }, below));
  return cell;
};

const rowElement = (row, floor) => {
  const ties = withTies(row);
  const box = element("input", { type: "checkbox", "aria-label": `Compare ${row.model}` });
  box.addEventListener("change", () => choose(row.key, box.checked));
  const open = element("button", { type: "button", class: "name", title: "Where these numbers come from" }, foreign(displayed(row)));
  open.addEventListener("click", () => showDetails(row));
  const rank = row.rank;
  const spread = rank && rank.low !== rank.high ? `${rank.low}–${rank.high}` : "";
  const line = element("tr", {},
    element("td", {}, box),
    element("td", { class: "num rank" }, element("b", {}, rank ? String(rank.rank) : UNDEFINED), spread ? element("span", { class: "ci95" }, spread) : null),
    element("th", { scope: "row" }, open, element("span", { class: "scorer" }, row.kind === "model" ? `version ${row.version}` : row.kind === "judge" ? `judge, version ${row.version}` : "recorded scores")),
    numberCell(proportion(ties.value), [interval(ties.ci95), state.rule === "native" ? ruleNote(row) : ""].filter(Boolean).join(", "), againstFloor(ties, floor)),
    numberCell(proportion(row.without_ties.value), interval(row.without_ties.ci95)),
    numberCell(percent(row.coverage), row.n_abstained ? `${whole(row.n_abstained)} open` : ""),
    numberCell(speed(row.cost.clips_per_s), row.cost.device ?? ""),
    numberCell(bytes(row.cost.host_memory)),
    numberCell(bytes(row.cost.gpu_memory)),
    numberCell(amount(row.parameters)),
    element("td", {}, foreign(row.weights_licence)),
    element("td", {}, element("span", { class: `tag ${row.training_data}` }, row.training_data)),
  );
  return { row, line, box };
};

const elementOf = (row, floor) => {
  const key = `${state.rule}\0${state.label}\0${row.key}`;
  if (!made.has(key)) made.set(key, rowElement(row, floor));
  return made.get(key);
};

const compareValues = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const shownRows = () => {
  const column = COLUMNS.find((one) => one.key === state.sort) ?? COLUMNS[1];
  const direction = state.down ? -1 : 1;
  const keyed = dimension().rows.filter(isShown).map((row, place) => ({ row, place, value: column.of(row) }));
  keyed.sort((a, b) => {
    // What is not known stands last, whichever way is sorted.
    if ((a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1;
    return direction * compareValues(a.value, b.value) || a.place - b.place;
  });
  return keyed.map((one) => one.row);
};

const drawHead = () => {
  const head = document.querySelector("#rows thead");
  head.replaceChildren(element("tr", {}, ...COLUMNS.map((column) => {
    if (column.hidden) return element("th", { scope: "col" }, element("span", { class: "visually-hidden" }, column.name));
    const button = element("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      const first = column.number && !column.up;
      const down = state.sort === column.key ? !state.down : first;
      change({ sort: column.key, down });
    });
    return element("th", { scope: "col", class: column.number ? "num" : null, "data-key": column.key }, button);
  })));
};

const drawMore = (left) => {
  const place = document.getElementById("more");
  const button = (text, count) => {
    const one = element("button", { type: "button" }, text);
    one.addEventListener("click", () => { rowsShown += count; drawTable(); });
    return one;
  };
  place.replaceChildren(...(left > 0 ? [button(`Show ${whole(Math.min(left, ROWS_AT_ONCE))} more`, ROWS_AT_ONCE), " ", button(`Show all ${whole(left)} that are left`, left)] : []));
};

const drawTable = () => {
  const from = dimension(), rows = shownRows(), all = from.rows.length;
  const items = rows.slice(0, rowsShown).map((row) => elementOf(row, from.floor));
  for (const { row, line, box } of items) {
    const chosen = state.chosen.includes(row.key);
    if (box.checked !== chosen) box.checked = chosen;
    line.classList.toggle("chosen", chosen);
  }
  const body = document.querySelector("#rows tbody"), lines = items.map((item) => item.line);
  if (lines.length !== body.children.length || lines.some((line, k) => body.children[k] !== line)) body.replaceChildren(...lines);
  drawMore(rows.length - items.length);
  for (const head of document.querySelectorAll("#rows thead th[data-key]")) {
    if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  document.getElementById("count").textContent = rows.length === all ? `${whole(all)} ${all === 1 ? "model" : "models"}` : `${whole(rows.length)} of ${whole(all)} models`;
  document.getElementById("label-facts").textContent =
    `${whole(from.n_pairs)} pairs, ${whole(from.cluster_sizes.length)} ${benchmark.cluster}s, ${benchmark.labels_by === "people" ? "human " : ""}ties ${proportion(from.tie_rate)}, majority floor ${proportion(from.floor)}${raters(from.raters)}`;
};
