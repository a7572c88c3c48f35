// The pair browser: what people said, what models said, and frames where they may be shown.
const SPOKEN = { A: ["A", "a"], B: ["B", "b"], "=": ["tie", "tie"], "-": ["–", "silent"] };
const MOST_ANSWERS = 12, PAGE = 10;
let pairsShown = PAGE;

const chip = (said) => element("span", { class: `chip ${SPOKEN[said][1]}` }, SPOKEN[said][0]);

const drawPairFilter = () => {
  const select = document.getElementById("pair-filter"), rows = dimension().rows;
  const offered = [element("option", { value: "" }, "all of them"), ...rows.slice(0, 200).map((row) => element("option", { value: row.key }, `where ${short(displayed(row), 60)} is wrong`))];
  select.replaceChildren(...offered);
  select.value = rows.some((row) => row.key === state.pairs) ? state.pairs : "";
};

const clipFigure = (pair, side, clip) => {
  const picture = data.pictures[pair.pair_id]?.[side], human = pair.human, figure = element("figure", { class: human === side ? "preferred" : null });
  if (picture) figure.append(element("img", { src: picture.file, width: picture.width, height: picture.height, loading: "lazy", alt: `Frames of clip ${side}` }));
  figure.append(element("figcaption", {}, element("b", {}, side), " ", clip.endsWith(`#${side}`) ? "" : foreign(clip), human === side ? " – preferred" : ""));
  return figure;
};

const pairArticle = (pair, place, rows) => {
  const answers = rows.slice(0, MOST_ANSWERS).map((row) => element("li", {}, chip(row.said[place]), " ", foreign(displayed(row)),
    "AB".includes(row.said[place]) ? element("span", { class: "small" }, ` surer than on ${row.sure[place]} % of its pairs`) : ""));
  return element("article", { "aria-label": `Pair ${pair.pair_id}` },
    element("p", { class: "prompt" }, foreign(pair.prompt || "(no prompt)")),
    element("p", { class: "verdict" }, element("span", {}, benchmark.labels_by === "people" ? "people: " : "answer: ", chip(pair.human)),
      element("span", {}, `${Math.round(100 * pair.wrong)} % of models answered otherwise${pair.silent ? `, ${Math.round(100 * pair.silent)} % not at all` : ""}`), element("span", { class: "small" }, "pair ", foreign(pair.pair_id))),
    element("ul", { class: "answers" }, ...answers),
    element("div", { class: "clips" }, clipFigure(pair, "A", pair.clip_a), clipFigure(pair, "B", pair.clip_b)));
};

const drawPairs = () => {
  const place = document.getElementById("pairs"), from = dimension(), only = from.rows.find((row) => row.key === state.pairs);
  const order = from.pairs.map((pair, k) => ({ pair, k })).filter(({ pair, k }) => !only || (only.said[k] !== pair.human && only.said[k] !== "-"));
  const strength = ({ pair, k }) => (only ? only.sure[k] : 100 * pair.wrong);
  order.sort((x, y) => strength(y) - strength(x) || x.k - y.k);
  if (!order.length) return nothing(place, only ? "None of the pairs kept for this page." : "No pair on which anyone disagrees.");
  const first = from.rows.filter((row) => state.chosen.includes(row.key) || row.key === state.pairs);
  const rows = [...first, ...shownRows().filter((row) => !first.includes(row))];
  const list = element("div", { class: "pairs-list" }, ...order.slice(0, pairsShown).map(({ pair, k }) => pairArticle(pair, k, rows)));
  place.replaceChildren(...(data.noPictures ? [element("p", { class: "small" }, data.noPictures)] : []), list);
  if (order.length > pairsShown) {
    const more = element("button", { type: "button" }, `Show more (${order.length - pairsShown} left)`);
    more.addEventListener("click", () => { pairsShown += PAGE; drawPairs(); });
    place.append(element("p", {}, more));
  }
};
