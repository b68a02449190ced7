// What a view asks the service for when it is drawn: once, when something it depends on changes, or every so often.
import {useCallback, useEffect, useState} from "./vendor.js";
import {useConnection} from "./connection.js";
import {useKey} from "./key.js";

const NOTHING = {value: null, error: null, loading: true};

/**
 * Ask for something and keep its answer. It is asked again when `deps`, the key or the connection's return change; an
 * answer that comes after a newer question is dropped, and the last value stays while a later question fails.
 * @param {function(AbortSignal): Promise} ask
 * @param {Array} deps
 * @param {{everyMs?: number}} options ask again so often, while the page is seen
 * @returns {{value: *, error: ?Error, loading: boolean, again: function(): void}}
 */
export function useAsked(ask, deps, {everyMs} = {}) {
  const [state, setState] = useState(NOTHING);
  const [turn, setTurn] = useState(0);
  const {back} = useConnection();
  const key = useKey();
  useEffect(() => setState(NOTHING), deps);
  useEffect(() => {
    const controller = new AbortController();
    let timer = 0;
    const settle = (change) => {
      if (controller.signal.aborted) return;
      setState((now) => ({...now, ...change, loading: false}));
      if (everyMs) timer = setTimeout(next, everyMs);
    };
    const next = async () => {
      if (everyMs && document.hidden) return (timer = setTimeout(next, everyMs));
      try {
        settle({value: await ask(controller.signal), error: null});
      } catch (error) {
        settle({error});
      }
    };
    setState((now) => ({...now, loading: true}));
    next();
    return () => (clearTimeout(timer), controller.abort());
  }, [...deps, turn, back, key, everyMs]);
  return {...state, again: useCallback(() => setTurn((now) => now + 1), [])};
}
