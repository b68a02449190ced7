// The comparison that is under way: the two releases, the queries and what was preferred. It lives in memory only, and
// outlasts the view while the page is open.
import {createStore} from "./store.js";

const MOST_QUERIES = 40;
let made = 0;

/**
 * a, b: releases, or null where the view is to choose; queries: {key, label, product} or {key, label, file}, each with
 * the category that is right for it, or ""; votes: "A", "B" or "same" by a query's key.
 */
export const comparison = createStore({a: null, b: null, queries: [], votes: {}});

/** Add photos as queries. */
export const addPhotos = (files) =>
  add(files.map((file) => ({key: `photo-${++made}`, label: file.name || "A pasted photo", file, category: ""})));

/** Add products as queries. */
export const addProducts = (products) =>
  add(products.map((product) => ({
    key: product.product_id, label: product.product_id, product, category: product.category || "",
  })));

function add(queries) {
  const known = comparison.get().queries;
  const fresh = queries.filter(({key}) => !known.some((one) => one.key === key));
  comparison.set({queries: [...fresh, ...known].slice(0, MOST_QUERIES)});
}

/** Say what a photo shows. */
export const setCategory = (key, category) =>
  comparison.set({queries: comparison.get().queries.map((one) => (one.key === key ? {...one, category} : one))});

/** Say which side is better for a query; the same again takes it back. */
export function vote(key, side) {
  const {[key]: before, ...others} = comparison.get().votes;
  comparison.set({votes: before === side ? others : {...others, [key]: side}});
}

/** Choose the releases; what was preferred was said of others. */
export const choose = (change) => comparison.set({...change, votes: {}});

/** Begin anew. */
export const clearQueries = () => comparison.set({queries: [], votes: {}});

/** The two releases to compare: those that were chosen while they exist, else the served one and a likely other. */
export function sides({a, b}, {serving, preview, previous, releases}) {
  const known = releases.map(({release}) => release);
  const first = known.includes(a) ? a : (serving ?? known.at(-1));
  const likely = [b, preview, previous, serving, ...[...known].reverse()];
  return {a: first, b: likely.find((one) => one && one !== first && known.includes(one)) ?? null};
}

/** Which of the two can't be searched as the service stands. */
export const unserved = ({a, b}, {serving, preview, preview_ready: ready}) =>
  [a, b].filter((one) => one !== serving && !(one === preview && ready));
