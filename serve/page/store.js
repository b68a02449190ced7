// A value that several parts of the page share: it lives outside them, so it outlasts a view that is closed.
import {useEffect, useState} from "./vendor.js";

/**
 * A store of one object.
 * @param {object} initial what it holds at first
 * @returns {{get: function(): object, set: function(object): void, subscribe: function(function): function}}
 *   `set` takes the fields that change; `subscribe` answers with what ends it.
 */
export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(change) {
      value = {...value, ...change};
      listeners.forEach((listener) => listener(value));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** What a store holds; the component is drawn again when it changes. */
export function useStore(store) {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    setValue(store.get());
    return store.subscribe(setValue);
  }, [store]);
  return value;
}
