// What is shown: one object, written to and read from the address's fragment, so that a view can be shared.
const data = JSON.parse(document.getElementById("data").textContent);
const benchmark = data.benchmark;
const byLabel = new Map(benchmark.dimensions.map((dimension) => [dimension.label, dimension]));
const RULES = ["crossfit", "oracle", "videoalign", "native"];
const COSTS = ["clips_per_s", "host_memory", "gpu_memory", "parameters"];
const TRAINING = ["", "clean", "overlaps", "unknown"];
const FIRST = () => ({
  label: benchmark.dimensions[0].label, find: "", training: "", rule: "crossfit", sort: "rank", down: false,
  chosen: [], cost: "clips_per_s", pairs: "",
});
let state = FIRST();

const fragment = () => {
  const parts = new URLSearchParams(), first = FIRST();
  if (state.label !== first.label || benchmark.dimensions.length > 1) parts.set("d", state.label);
  if (state.find) parts.set("q", state.find);
  if (state.training) parts.set("t", state.training);
  if (state.rule !== first.rule) parts.set("rule", state.rule);
  if (state.sort !== first.sort || state.down) parts.set("sort", (state.down ? "-" : "") + state.sort);
  for (const key of state.chosen) parts.append("c", key);
  if (state.cost !== first.cost) parts.set("x", state.cost);
  if (state.pairs) parts.set("pairs", state.pairs);
  return parts.toString();
};

const readFragment = () => {
  const parts = new URLSearchParams(location.hash.slice(1)), found = FIRST();
  const oneOf = (name, values, otherwise) => (values.includes(parts.get(name)) ? parts.get(name) : otherwise);
  if (byLabel.has(parts.get("d"))) found.label = parts.get("d");
  found.find = (parts.get("q") ?? "").slice(0, 200);
  found.training = oneOf("t", TRAINING, "");
  found.rule = oneOf("rule", RULES, "crossfit");
  const sort = parts.get("sort") ?? "";
  if (COLUMNS.some((column) => column.of && column.key === sort.replace(/^-/, ""))) {
    found.sort = sort.replace(/^-/, "");
    found.down = sort.startsWith("-");
  }
  const keys = new Set(benchmark.dimensions.flatMap((dimension) => dimension.rows.map((row) => row.key)));
  found.chosen = [...new Set(parts.getAll("c"))].filter((key) => keys.has(key)).slice(0, MOST_CHOSEN);
  found.cost = oneOf("x", COSTS, "clips_per_s");
  if (keys.has(parts.get("pairs"))) found.pairs = parts.get("pairs");
  state = found;
};

const writeFragment = () => history.replaceState(null, "", `#${fragment()}`);
const MOST_CHOSEN = 2;
const dimension = () => byLabel.get(state.label);
const withTies = (row, rule = state.rule) => {
  if (rule === "oracle") return row.oracle;
  if (rule === "videoalign") return { value: row.videoalign, ci95: null };
  if (rule === "native") return row.native ?? { value: null, ci95: null };
  return row.with_ties;
};
const ruleNote = (row) => (row.native && row.as_stated ? "threshold as stated" : "");
const againstFloor = (accuracy, floor) => {
  if (!accuracy.ci95 || !known(floor)) return "";
  return accuracy.ci95[0] > floor ? "above" : accuracy.ci95[1] < floor ? "below" : "";
};
const displayed = (row) => (row.kind !== "recorded" && row.score && row.score !== state.label ? `${row.model} (${row.score})` : row.model);
const isShown = (row) => {
  if (state.training && row.training_data !== state.training) return false;
  const text = `${row.model} ${row.plugin} ${row.score} ${row.version} ${row.kind} ${row.weights_licence} ${row.code_licence} ${row.training_data}`;
  return state.find.toLowerCase().split(/\s+/).filter(Boolean).every((word) => text.toLowerCase().includes(word));
};
