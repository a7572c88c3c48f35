// Drawings of the rows that are shown: accuracy with intervals, accuracy against cost, all labels of a few models.
const MOST_DRAWN = 30, MOST_POINTS = 1000, MOST_LABELS = 12;

const ticksOf = (low, high, most = 5) => {
  const raw = (high - low) / most, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((size) => size >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
};
const domainOf = (values) => {
  const all = values.filter(known);
  if (!all.length) return [0, 1];
  let low = Math.max(0, Math.floor(Math.min(...all) * 10 - 0.15) / 10), high = Math.min(1, Math.ceil(Math.max(...all) * 10 + 0.15) / 10);
  while (high - low < 0.299) { low = Math.max(0, low - 0.1); high = Math.min(1, high + 0.1); }
  return [low, high];
};
const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const nothing = (place, text) => place.replaceChildren(element("p", { class: "empty" }, text));
const widthOf = (place, most) => Math.max(280, Math.min(most, place.clientWidth || most));

const drawForest = () => {
  const place = document.getElementById("forest"), rows = shownRows().filter((row) => known(withTies(row).value));
  if (!rows.length) return nothing(place, "No model that is shown has this number.");
  const kept = rows.slice(0, MOST_DRAWN), floor = dimension().floor, width = widthOf(place, 1100);
  const left = Math.min(260, Math.round(width * 0.36)), right = 14, step = 22, top = 6, bottom = 34;
  const height = top + kept.length * step + bottom;
  const [low, high] = domainOf([floor, ...kept.flatMap((row) => [withTies(row).value, ...(withTies(row).ci95 ?? [])])]);
  const x = (value) => left + ((value - low) / (high - low)) * (width - left - right);
  const svg = drawn("svg", { class: "board-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Accuracy with ties of ${kept.length} models on ${state.label}; the numbers are in the table above` });
  for (const tick of ticksOf(low, high)) {
    svg.append(drawn("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: height - bottom }));
    svg.append(drawn("text", { class: "tick", x: x(tick), y: height - bottom + 15, "text-anchor": "middle" }, proportion(tick, 1)));
  }
  if (known(floor)) {
    svg.append(drawn("line", { class: "floor dashed", x1: x(floor), x2: x(floor), y1: top, y2: height - bottom }));
    svg.append(drawn("text", { class: "tick", x: x(floor), y: height - 4, "text-anchor": "middle" }, `floor ${proportion(floor)}`));
  }
  kept.forEach((row, k) => {
    const accuracy = withTies(row), y = top + (k + 0.5) * step, chosen = state.chosen.includes(row.key) ? " chosen" : "";
    svg.append(drawn("text", { class: "who", x: left - 10, y: y + 4, "text-anchor": "end" }, short(displayed(row), Math.floor(left / 7))));
    if (accuracy.ci95) svg.append(drawn("line", { class: `ci${chosen}`, x1: x(accuracy.ci95[0]), x2: x(accuracy.ci95[1]), y1: y, y2: y }));
    svg.append(drawn("circle", { class: `dot ${againstFloor(accuracy, floor)}${chosen}`, cx: x(accuracy.value), cy: y, r: 4.5 },
      drawn("title", {}, `${displayed(row)}: ${proportion(accuracy.value)} ${interval(accuracy.ci95)}`)));
  });
  place.replaceChildren(svg);
  if (rows.length > kept.length) place.append(element("p", { class: "small" }, `The first ${kept.length} of ${whole(rows.length)} models in the table's order.`));
};

const costOf = (row) => (state.cost === "parameters" ? row.parameters : row.cost[state.cost]);
const costText = { clips_per_s: speed, host_memory: bytes, gpu_memory: bytes, parameters: amount };
const costName = {
  clips_per_s: "clips per second (faster →)", host_memory: "host memory of the largest process", gpu_memory: "GPU memory", parameters: "parameters",
};

const drawScatter = () => {
  const place = document.getElementById("scatter");
  const rows = shownRows().filter((row) => known(withTies(row).value) && known(costOf(row)) && costOf(row) > 0).slice(0, MOST_POINTS);
  if (!rows.length) return nothing(place, "No model that is shown states this cost above 0.");
  const width = widthOf(place, 520), height = 320, left = 42, right = 14, top = 12, bottom = 44;
  const costs = rows.map((row) => Math.log10(costOf(row)));
  let from = Math.min(...costs), to = Math.max(...costs);
  const room = Math.max(0.15, (to - from) * 0.08);
  [from, to] = [from - room, to + room];
  const floor = dimension().floor, [low, high] = domainOf([floor, ...rows.map((row) => withTies(row).value)]);
  const x = (cost) => left + ((Math.log10(cost) - from) / (to - from)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const svg = drawn("svg", { class: "board-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Accuracy with ties against ${costName[state.cost]}, ${rows.length} models` });
  for (const tick of ticksOf(low, high)) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    svg.append(drawn("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, proportion(tick, 1)));
  }
  const steps = to - from > 2.5 ? [1] : [1, 2, 5];
  const stride = Math.max(1, Math.ceil((to - from) / 4));
  for (let power = Math.floor(from); power <= to; power += 1) {
    for (const factor of steps) {
      const value = factor * 10 ** power;
      if (Math.log10(value) < from || Math.log10(value) > to || (power - Math.floor(from)) % stride) continue;
      svg.append(drawn("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
      svg.append(drawn("text", { class: "tick", x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, costText[state.cost](value)));
    }
  }
  if (known(floor)) svg.append(drawn("line", { class: "floor dashed", x1: left, x2: width - right, y1: y(floor), y2: y(floor) }));
  svg.append(drawn("text", { class: "axis", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, costName[state.cost]));
  for (const row of rows) {
    const px = x(costOf(row)), py = y(withTies(row).value), name = displayed(row), end = px > width * 0.6;
    svg.append(drawn("circle", { class: `point${state.chosen.includes(row.key) ? " chosen" : ""}`, cx: px, cy: py, r: rows.length > 60 ? 3 : 5 },
      drawn("title", {}, `${name}: ${proportion(withTies(row).value)} at ${costText[state.cost](costOf(row))}`)));
    if (rows.length <= 14) svg.append(drawn("text", { class: "who", x: px + (end ? -9 : 9), y: py + 4, "text-anchor": end ? "end" : "start" }, short(name, 24)));
  }
  place.replaceChildren(svg);
};

const drawRadar = () => {
  const place = document.getElementById("radar"), labels = benchmark.dimensions.slice(0, MOST_LABELS);
  if (labels.length < 3) return nothing(place, "Drawn where a benchmark has three labels or more.");
  const chosen = dimension().rows.filter((row) => state.chosen.includes(row.key));
  const models = chosen.length ? chosen : shownRows().slice(0, 3);
  const series = models.map((model) => ({
    name: model.model,
    values: labels.map((one) => one.rows.find((row) => row.key === model.key)?.with_ties.value ?? null),
  }));
  if (!series.length) return nothing(place, "No model is shown.");
  const width = widthOf(place, 520), cx = width / 2, radius = Math.min(125, width / 2 - 96), cy = radius + 34;
  const angle = (k) => (2 * Math.PI * k) / labels.length - Math.PI / 2;
  const at = (k, share) => [cx + Math.cos(angle(k)) * radius * share, cy + Math.sin(angle(k)) * radius * share];
  const height = 30 + Math.max(...labels.map((_, k) => at(k, 1.14)[1]));
  const path = (shares) => shares.map((share, k) => at(k, share).map((v) => v.toFixed(1)).join(",")).join(" ");
  const svg = drawn("svg", { class: "board-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Accuracy with ties of ${series.map((one) => one.name).join(", ")} over ${labels.length} labels` });
  for (const share of [0.25, 0.5, 0.75, 1]) svg.append(drawn("polygon", { class: "spoke", points: path(labels.map(() => share)) }));
  labels.forEach((one, k) => {
    const [x, y] = at(k, 1), [tx, ty] = at(k, 1.14), side = Math.cos(angle(k));
    svg.append(drawn("line", { class: "spoke", x1: cx, y1: cy, x2: x, y2: y }));
    svg.append(drawn("text", { class: "who", x: tx, y: ty + 4, "text-anchor": side > 0.2 ? "start" : side < -0.2 ? "end" : "middle" }, short(one.label, 14)));
  });
  series.forEach((one, k) => svg.append(drawn("polygon", { class: `area series-${k % 4}`, points: path(one.values.map((value) => value ?? 0)) })));
  for (const share of [0.5, 1]) {
    svg.append(drawn("text", { class: "tick", x: cx - 5, y: cy - radius * share + 4, "text-anchor": "end" }, share === 1 ? "1" : proportion(share, 1)));
  }
  place.replaceChildren(svg, element("ul", { class: "series" }, ...series.map((one, k) =>
    element("li", { class: `series-${k % 4}` }, element("span", { class: "legend-line" }), foreign(one.name)))),
  element("p", { class: "small" }, "Crossfit accuracy with ties of the models compared, else of the first three of the table; the centre is 0, and a label without a number is drawn there."));
};
