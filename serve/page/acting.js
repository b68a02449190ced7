// What a person starts with a button: one action at a time, its progress, its failure in the service's words, and the
// key it may want, after which it goes on by itself with what it was given.
import {html, useEffect, useRef, useState} from "./vendor.js";
import {KeyForm, useKey} from "./key.js";

/**
 * An action that may fail.
 * @param {function(...*): Promise} act
 * @param {function(*): void} [done] told what the action did, also when it was done only once there was a key for it
 * @returns {{run: function(...*): Promise, given: Array, busy: boolean, error: ?Error}} `given` is what it was last run
 *   with
 */
export function useAction(act, done) {
  const [state, setState] = useState({busy: false, error: null});
  const given = useRef([]);
  const mounted = useRef(true);
  const key = useKey();
  const run = async (...args) => {
    given.current = args;
    setState({busy: true, error: null});
    let error = null;
    try {
      const did = await act(...args);
      if (mounted.current) done?.(did);
    } catch (failed) {
      error = failed;
    } finally {
      if (mounted.current) setState({busy: false, error});
    }
  };
  useEffect(() => () => (mounted.current = false), []);
  useEffect(() => {
    if (key && state.error?.needsKey) run(...given.current);
  }, [key]);
  return {...state, run, given: given.current};
}

/** Why an action failed. `saying` comes before the service's words. */
export function Failure({action, saying}) {
  const {error} = action;
  if (!error) return null;
  if (error.needsKey) return html`<${KeyWanted} reason=${error.detail || error.title} />`;
  return html`<div class="note bad" role="alert">
    ${saying && html`<strong>${saying}</strong>`} <p>${error.detail || error.title || error.message}</p>
    ${error.requestId && html`<p class="muted">Request ${error.requestId}</p>`}
  </div>`;
}

/** The form for a key, brought to where the person who wants something looks. */
function KeyWanted({reason}) {
  const place = useRef();
  useEffect(() => {
    place.current.scrollIntoView({block: "nearest"});
    place.current.querySelector("input").focus({preventScroll: true});
  }, []);
  return html`<div ref=${place} class="arrival"><${KeyForm} reason=${reason} /></div>`;
}

/**
 * A button that asks once more, in its place, before it acts.
 * @param {{label: string, name?: string, question: string, confirm: string, keep?: string, onConfirm: function,
 *   danger?: boolean, busy?: boolean}} props `name` is the label for those who don't see what it stands beside
 */
export function Confirmed({label, name, question, confirm, keep = "Cancel", onConfirm, danger, busy}) {
  const [asking, setAsking] = useState(false);
  const [opener, first] = [useRef(), useRef()];
  const touched = useRef(false);
  useEffect(() => {
    if (touched.current) (asking ? first : opener).current?.focus();
  }, [asking]);
  const ask = (whether) => ((touched.current = true), setAsking(whether));
  const tone = danger ? "danger" : "";
  if (!asking)
    return html`<button type="button" ref=${opener} class="button small ${tone}" disabled=${busy} aria-label=${name}
      onClick=${() => ask(true)}>${label}</button>`;
  const act = () => (ask(false), onConfirm());
  return html`<div class="confirm" role="group" aria-label=${question}
    onKeyDown=${(event) => event.key === "Escape" && ask(false)}>
    <p>${question}</p>
    <div class="bar">
      <button type="button" ref=${first} class="button small ${danger ? "danger" : "primary"}"
        onClick=${act}>${confirm}</button>
      <button type="button" class="button small quiet" onClick=${() => ask(false)}>${keep}</button>
    </div>
  </div>`;
}

/** Says that what is shown is of an earlier moment, since the last question failed. */
export function Stale({asked, at}) {
  if (!asked.error || !asked.value) return null;
  const why = asked.error.offline ? "The service can't be reached." : asked.error.detail || asked.error.title;
  return html`<p class="note warn" role="status"><strong>${why}</strong> The figures are of ${at}.</p>`;
}
