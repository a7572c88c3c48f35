// Two rows on the same pairs, from sums over clusters (prompts): the same test as rewardbench.metrics.paired_test, with
// the difference that an abstention counts as a wrong answer. Up to 16 clusters that differ, every assignment of signs
// is visited and p is exact.
const EXACT_CLUSTERS = 16, PERMUTATIONS = 9999, RESAMPLES = 2000;

// mulberry32: small, seeded, good enough for a few thousand draws; the same view always shows the same numbers.
const randomNumbers = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

const signFlipP = (differences) => {
  const moving = differences.filter((value) => value !== 0);
  const observed = Math.abs(moving.reduce((sum, value) => sum + value, 0));
  if (!moving.length) return { p: 1, exact: true, visited: 1 };
  let count = 0;
  if (moving.length <= EXACT_CLUSTERS) {
    const visited = 2 ** moving.length;
    for (let assignment = 0; assignment < visited; assignment += 1) {
      let sum = 0;
      for (let k = 0; k < moving.length; k += 1) sum += (assignment >> k) & 1 ? -moving[k] : moving[k];
      if (Math.abs(sum) >= observed) count += 1;
    }
    return { p: count / visited, exact: true, visited };
  }
  const random = randomNumbers(0);
  for (let round = 0; round < PERMUTATIONS; round += 1) {
    let sum = 0;
    for (const value of moving) sum += random() < 0.5 ? -value : value;
    if (Math.abs(sum) >= observed) count += 1;
  }
  return { p: (1 + count) / (1 + PERMUTATIONS), exact: false, visited: PERMUTATIONS };
};

const differenceInterval = (differences, sizes) => {
  const n = sizes.length;
  if (n < 2) return null;
  const random = randomNumbers(0), found = [];
  for (let round = 0; round < RESAMPLES; round += 1) {
    let part = 0, all = 0;
    for (let k = 0; k < n; k += 1) {
      const taken = Math.floor(random() * n);
      part += differences[taken];
      all += sizes[taken];
    }
    if (all) found.push(part / all);
  }
  found.sort((a, b) => a - b);
  const at = (share) => {
    const place = share * (found.length - 1), below = Math.floor(place);
    return found[below] + (place - below) * ((found[below + 1] ?? found[below]) - found[below]);
  };
  return found.length ? [at(0.025), at(0.975)] : null;
};

const paired = (a, b, sizes) => {
  const differences = a.map((value, k) => value - b[k]);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const all = sum(sizes);
  if (!all) return null;
  return {
    a: sum(a) / all, b: sum(b) / all, difference: sum(differences) / all, clusters: sizes.filter(Boolean).length,
    ci95: differenceInterval(differences, sizes), ...signFlipP(differences),
  };
};
