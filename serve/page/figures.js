// What the service's metrics say: Prometheus's text read into series, what was counted between two readings, and the
// percentiles of a histogram. Plain functions of their arguments; `live.js` says when they are called.

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/**
 * Read Prometheus's text format.
 * @param {string} text
 * @returns {Map<string, {name: string, labels: Object<string, string>, value: number}>} each series by its whole name
 */
export function readMetrics(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const [, name, inside = "", value] = found;
    const labels = Object.fromEntries([...inside.matchAll(LABEL)].map(([, label, said]) => [label, said]));
    series.set(`${name}{${inside}}`, {name, labels, value: number(value)});
  }
  return series;
}

function number(text) {
  return text.endsWith("Inf") ? (text.startsWith("-") ? -Infinity : Infinity) : Number(text);
}

/**
 * A reading with the series that only the reading before it has: a node that did not answer once has not lost its
 * counts, and they must not count as new when it answers again.
 */
export const carriedOn = (before, after) => new Map([...before, ...after]);

/**
 * What was counted between two readings: each series' rise, where a series that fell was started again at zero and one
 * that is new began there.
 * @returns {Map} series as `readMetrics` gives them, with the rise as the value
 */
export function rise(before, after) {
  const risen = new Map();
  for (const [key, series] of after) {
    const earlier = before.get(key)?.value ?? 0;
    risen.set(key, {...series, value: series.value >= earlier ? series.value - earlier : series.value});
  }
  return risen;
}

/** Sum of the series of a name whose labels pass `where`; 0 if there are none. */
export function total(series, name, where = () => true) {
  let sum = 0;
  for (const one of series.values()) if (one.name === name && where(one.labels)) sum += one.value;
  return sum;
}

/** The values that a label has among the series of a name, in order. */
export function labelValues(series, name, label) {
  const values = new Set();
  for (const one of series.values()) if (one.name === name && label in one.labels) values.add(one.labels[label]);
  return [...values].sort();
}

/**
 * A histogram's buckets, summed over all series of a name whose labels pass `where`.
 * @returns {{bounds: number[], counts: number[], count: number, sum: number}} upper bounds in rising order (the last is
 *   Infinity), and how many observations lie at or below each
 */
export function histogram(series, name, where = () => true) {
  const byBound = new Map();
  for (const one of series.values()) {
    if (one.name !== `${name}_bucket` || !where(one.labels)) continue;
    const bound = number(one.labels.le.replace("+", ""));
    byBound.set(bound, (byBound.get(bound) ?? 0) + one.value);
  }
  const bounds = [...byBound.keys()].sort((one, other) => one - other);
  const counts = bounds.map((bound) => byBound.get(bound));
  return {bounds, counts, count: counts.at(-1) ?? 0, sum: total(series, `${name}_sum`, where)};
}

/**
 * A percentile of a histogram: within its bucket, values are taken to lie evenly. One that lies beyond the last finite
 * bound is that bound.
 * @param {{bounds: number[], counts: number[], count: number}} histogram
 * @param {number} share 0..1; 0.95 for the 95th percentile
 * @returns {?number} null if nothing was observed
 */
export function percentile({bounds, counts, count}, share) {
  if (!(count > 0)) return null;
  const rank = share * count;
  const at = counts.findIndex((upTo) => upTo >= rank);
  const low = at > 0 ? bounds[at - 1] : 0;
  if (bounds[at] === Infinity) return low;
  const below = at > 0 ? counts[at - 1] : 0;
  const within = counts[at] - below;
  return within > 0 ? low + ((bounds[at] - low) * (rank - below)) / within : low;
}
