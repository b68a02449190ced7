// The key that the service may want: asked for once, kept for this tab, and sent with every request.
import {html, useState} from "./vendor.js";
import {createStore, useStore} from "./store.js";

const NAME = "visnet-key";

const kept = createStore({key: read(NAME), reading: read(`${NAME}-reading`)});

function read(name) {
  try {
    return sessionStorage.getItem(name) || "";
  } catch {
    return "";
  }
}

function keep(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // A browser that keeps nothing: the key lasts until the page is loaded again.
  }
}

/** The key; "" if none was given. */
export const getKey = () => kept.get().key;

/** Give the key; all that waits for one asks again. */
export function setKey(key) {
  keep(NAME, key);
  kept.set({key});
}

/** The key; the component is drawn again when it changes. */
export const useKey = () => useStore(kept).key;

/** Note that reading needs a key too: pictures are then fetched with it, as an <img> can't send one. */
export function readingNeedsKey() {
  if (kept.get().reading) return;
  keep(`${NAME}-reading`, "yes");
  kept.set({reading: "yes"});
}

/** The key that pictures have to be fetched with; "" if an <img> will do. */
export function usePictureKey() {
  const {key, reading} = useStore(kept);
  return reading ? key : "";
}

/** Asks for a key. `reason` is what the service said. */
export function KeyForm({reason}) {
  const [value, setValue] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (value.trim()) setKey(value.trim());
  };
  return html`<form class="panel key-form" onSubmit=${submit}>
    <h2>This needs a key</h2>
    ${reason && html`<p role="alert">${reason}</p>`}
    <label class="field">
      <span>Key</span>
      <input type="password" autocomplete="off" required value=${value} onInput=${(e) => setValue(e.target.value)} />
    </label>
    <button class="button primary">Use this key</button>
    <p class="muted">It is kept in this tab until the tab is closed.</p>
  </form>`;
}
