// Where one row's numbers come from, and what two rows differ in.
const listed = (pairs) => element("dl", { class: "facts-list" }, ...pairs.filter(([, value]) => value).map(([name, value]) =>
  element("div", {}, element("dt", {}, name), element("dd", {}, value))));
const numberWithInterval = (accuracy) => (accuracy && known(accuracy.value) ? `${proportion(accuracy.value)} ${interval(accuracy.ci95)}`.trim() : "");

const showDetails = (row) => {
  const from = benchmark.submissions[row.submission], dialog = document.getElementById("details");
  const file = data.bundles ? element("a", { href: `bundles/${encodeURIComponent(from.file)}`, download: from.file }, from.file) : foreign(from.file);
  const fingerprint = from.fingerprints[row.plugin];
  const weights = Object.entries(from.weights).filter(([name]) => name.startsWith(`${row.plugin}/`)).map(([name, sha]) => `${name.slice(row.plugin.length + 1)} ${sha}`).join(", ");
  document.getElementById("details-body").replaceChildren(
    element("h2", { id: "details-title" }, foreign(displayed(row))),
    element("h3", {}, `On ${state.label}, by every rule`),
    listed([
      ["with ties, crossfit", numberWithInterval(row.with_ties)],
      ["with ties, oracle", numberWithInterval(row.oracle) && `${numberWithInterval(row.oracle)}, |margin| ≤ ${Number(row.oracle.tie_threshold?.toPrecision(6))}`],
      ["with ties, VideoAlign's function", known(row.videoalign) ? proportion(row.videoalign) : ""],
      ["with ties, the model's own rule", numberWithInterval(row.native) && [numberWithInterval(row.native), ruleNote(row)].filter(Boolean).join(", ")],
      ["with ties, a fixed threshold", numberWithInterval(row.fixed)],
      ["without ties", numberWithInterval(row.without_ties)],
      ["without ties, half credit", known(row.half_credit) ? proportion(row.half_credit) : ""],
      ["Kendall tau-b", known(row.kendall_tau_b) ? proportion(row.kendall_tau_b) : ""],
      ["majority floor", proportion(dimension().floor)],
      ["pairs", `${whole(row.n)} answered, ${whole(row.n_abstained)} not`],
    ]),
    element("h3", {}, "The model"),
    listed([
      ["plugin", foreign(`${row.plugin} ${row.version}`)], ["score", foreign(row.score)],
      ["range and rule for ties", row.as_stated ? "as stated in the bundle: no such card was at hand" : "as in the installed card"],
      ["training data", foreign(`${row.training_data}${row.training_data_note ? `: ${row.training_data_note}` : ""}`)],
      ["code licence", foreign(row.code_licence)], ["weights licence", foreign(row.weights_licence)],
      ["parameters", amount(row.parameters)], ["fingerprint", fingerprint && element("span", { class: "hash" }, fingerprint)],
      ["weights", weights && element("span", { class: "hash" }, weights)], ["cited as", from.citations.join("; ") && foreign(from.citations.join("; "))],
    ]),
    element("h3", {}, "The run"),
    listed([
      ["bundle", file], ["sha256", element("span", { class: "hash" }, from.sha256)], ["submitted by", from.submitted_by && foreign(from.submitted_by)],
      ["finished", from.finished], ["command", from.command && element("code", {}, from.command)],
      ["software", `rewardbench ${from.rewardbench}, Python ${from.python}${from.torch ? `, torch ${from.torch}` : ""}`],
      ["device", from.device && foreign(from.device)], ["commit", from.git && element("span", { class: "hash" }, from.git)],
    ]),
  );
  dialog.showModal();
};

const verdict = (test, a, b) => {
  if (!test.ci95) return "One prompt cannot tell two models apart.";
  if (test.p >= 0.05) return "These pairs do not tell the two apart.";
  return `${test.difference > 0 ? a : b} is better on these pairs.`;
};

const drawComparison = () => {
  const section = document.getElementById("compare"), place = document.getElementById("comparison"), from = dimension();
  const rows = state.chosen.map((key) => from.rows.find((row) => row.key === key)).filter(Boolean);
  section.hidden = !state.chosen.length;
  if (!state.chosen.length) return;
  if (rows.length < 2) {
    return nothing(place, state.chosen.length < 2 ? "Tick a second model to compare with." : `Only ${rows.length ? rows[0].model : "none"} of the two has numbers on ${state.label}.`);
  }
  const [a, b] = rows, names = [displayed(a), displayed(b)];
  const tests = [
    ["With ties (crossfit)", paired(a.right, b.right, from.cluster_sizes)],
    ["Without ties", paired(a.right_decided, b.right_decided, from.cluster_decided)],
  ].filter(([, test]) => test);
  const head = ["", names[0], names[1], "Difference", "95 % interval", "p"];
  const table = element("table", { class: "compact" },
    element("thead", {}, element("tr", {}, ...head.map((name, k) => element("th", { scope: "col", class: k ? "num" : null }, k === 1 || k === 2 ? foreign(name) : name)))),
    element("tbody", {}, ...tests.map(([name, test]) => element("tr", {},
      element("th", { scope: "row" }, name), element("td", { class: "num" }, proportion(test.a)), element("td", { class: "num" }, proportion(test.b)),
      element("td", { class: "num" }, signed(test.difference)),
      element("td", { class: "num" }, test.ci95 ? `${signed(test.ci95[0])} to ${signed(test.ci95[1])}` : UNDEFINED),
      element("td", { class: "num", "data-p": test.p }, `${test.p < 0.0001 ? "< .0001" : proportion(test.p)}`)))));
  place.replaceChildren(
    element("p", { class: "lead" }, foreign(tests.length ? verdict(tests[0][1], names[0], names[1]) : "")),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Comparison" }, table),
    element("p", { class: "small" }, `Paired over ${whole(from.cluster_sizes.length)} ${benchmark.cluster}s: p by sign flips (${tests[0][1].exact ? `exact, all ${whole(tests[0][1].visited)}` : `${whole(tests[0][1].visited)} drawn`}), interval by bootstrap. An abstention counts as wrong. Not adjusted for the number of comparisons looked at.`),
  );
};
