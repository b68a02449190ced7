// Parts of the page that are loaded when they are wanted, and what is shown when one can't be.
import {html, useEffect, useState} from "./vendor.js";

const modules = new Map();

/**
 * A module, loaded when it is first wanted and there at once from then on.
 * @param {?function(): Promise} load () => import("./part.js"), the same function each time; without one, nothing is
 * @returns {{Part: ?function, error: ?Error, again: function(): void}} `Part` is the module's default export
 */
export function useModule(load) {
  const [state, setState] = useState({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let wanted = true;
    const settle = (change) => wanted && setState({load, ...change});
    const keep = (module) => settle({Part: modules.set(load, module.default).get(load)});
    if (load && !modules.has(load)) load().then(keep, (error) => settle({error}));
    return () => (wanted = false);
  }, [load, turn]);
  const again = () => (setState({}), setTurn(turn + 1));
  return {Part: modules.get(load), error: state.load === load ? state.error : null, again};
}

/** Says that a part could not be loaded. */
export const Unloaded = ({again}) =>
  html`<div class="note bad" role="alert">
    <strong>This part of the page could not be loaded.</strong>
    <p>The connection may be gone, or the service may have changed since the page was opened.</p>
    <div class="bar">
      <button type="button" class="button small" onClick=${again}>Try again</button>
      <button type="button" class="button small" onClick=${() => location.reload()}>Load the page again</button>
    </div>
  </div>`;
