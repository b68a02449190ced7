// How two releases' answers to the same queries differ, as numbers. Plain functions; `results` are best first.

const ids = (results) => results.map((result) => result.product_id);

/**
 * Where each result of `results` stands among `others`.
 * @returns {Map<string, ?number>} by product: how many places higher it stands here (negative: lower), null if it is
 *   only here
 */
export function moves(results, others) {
  const there = new Map(ids(others).map((id, place) => [id, place]));
  return new Map(ids(results).map((id, place) => [id, there.has(id) ? there.get(id) - place : null]));
}

/** Share of the first k that both have; null if neither has any. */
export function overlap(one, other, k) {
  const [mine, theirs] = [ids(one).slice(0, k), new Set(ids(other).slice(0, k))];
  const most = Math.max(mine.length, theirs.size);
  return most ? mine.filter((id) => theirs.has(id)).length / most : null;
}

/** Whether both have the same first result; null if neither has any. */
export function sameFirst(one, other) {
  return one.length || other.length ? one[0]?.product_id === other[0]?.product_id : null;
}

/** Share of the first k that are of a category; null if it isn't known or there is no result. */
export function categoryPrecision(results, category, k) {
  const first = results.slice(0, k);
  return category && first.length ? first.filter((result) => result.category === category).length / first.length : null;
}

/** Mean of the numbers (true is 1) among the values; null if there are none. */
export function mean(values) {
  const known = values.filter((value) => value != null).map(Number);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/**
 * Sign test, two-sided: how likely it is that preferences are split at least so unevenly if both are equally good.
 * Those who prefer neither are left out.
 * @returns {number} 1 if nobody prefers one
 */
export function signTest(forA, forB) {
  const all = forA + forB;
  let tail = 0;
  for (let k = 0, ways = 1; k <= Math.min(forA, forB); ways = (ways * (all - k)) / (k + 1), k++) tail += ways;
  return Math.min(1, 2 * tail * 0.5 ** all);
}

/** What a sign test's result means, in words. */
export function howSure(p, judged) {
  if (!judged) return "nothing is judged yet";
  if (p <= 0.01) return "very unlikely to be chance";
  return p <= 0.05 ? "unlikely to be chance" : "this may well be chance";
}
