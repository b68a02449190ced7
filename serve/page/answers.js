// Both releases' answers to all queries, asked for two at a time and kept while the view is open.
import {useEffect, useRef, useState} from "./vendor.js";
import {useConnection} from "./connection.js";
import {useKey} from "./key.js";
import {service} from "./service.js";

export const K = 6;
const AT_ONCE = 2;
const nameOf = (query, release) => `${query.key} ${release}`;

/**
 * Ask for what is missing.
 * @param {Array} queries
 * @param {string[]} releases
 * @param {boolean} ready whether both are served; nothing is asked before
 * @returns {{of: function(object, string): ({results: Array, answer: object}|{error: Error}|null), again: function}}
 *   what a release answers to a query, without the query's own product; null while it is awaited
 */
export function useAnswers(queries, releases, ready) {
  const kept = useRef(new Map());
  const [, setDrawn] = useState(0);
  const [turn, setTurn] = useState(0);
  const key = useKey();
  const {back} = useConnection();
  useEffect(() => {
    if (!ready) return;
    const controller = new AbortController();
    const {signal} = controller;
    const missing = queries.flatMap((query) => releases.map((release) => ({query, release})));
    const todo = missing.filter(({query, release}) => !kept.current.get(nameOf(query, release))?.answer);
    todo.forEach(({query, release}) => kept.current.delete(nameOf(query, release)));
    const next = async () => {
      for (let one = todo.shift(); one && !signal.aborted; one = todo.shift()) {
        const told = await ask(one, signal).catch((error) => ({error}));
        if (signal.aborted) return;
        kept.current.set(nameOf(one.query, one.release), told);
        setDrawn((now) => now + 1);
      }
    };
    for (let worker = 0; worker < AT_ONCE; worker++) next();
    return () => controller.abort();
  }, [queries.map((query) => query.key).join(" "), ...releases, ready, key, back, turn]);
  return {
    of: (query, release) => kept.current.get(nameOf(query, release)) ?? null,
    again: () => setTurn((now) => now + 1),
  };
}

async function ask({query, release}, signal) {
  const answer = await service.post("/v1/search", {...question(query, release), signal, read: true});
  const results = answer.results.filter(({product_id: id}) => id !== query.product?.product_id);
  return {answer, results: results.slice(0, K)};
}

function question({product, file}, release) {
  if (product) return {json: {product_id: product.product_id, k: K + 1, release}};
  const form = new FormData();
  for (const [name, value] of Object.entries({image: file, k: K, release})) form.append(name, value);
  return {form};
}
