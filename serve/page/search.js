// The search: a place for a photo at first; once there is one, what was found. That part is loaded then.
import {html, useEffect, useRef} from "./vendor.js";
import {useAsked} from "./asked.js";
import {useConnection} from "./connection.js";
import {Intake} from "./intake.js";
import {useKey} from "./key.js";
import {Unloaded, useModule} from "./loaded.js";
import {service} from "./service.js";
import {hasQuery, search, searchPhoto, searchProduct, session} from "./session.js";
import {Loading, Problem} from "./states.js";
import {useStore} from "./store.js";
import {valueText} from "./words.js";

const found = () => import("./found.js");

/** The view of `#/`. */
export default function Search() {
  const now = useStore(session);
  const asked = hasQuery(now);
  const catalog = useAsked((signal) => service.get("/v1/catalog", {signal}), []);
  const {Part: Found, error, again} = useModule(asked ? found : null);
  useAgain(now);
  useTop(asked ? (Found ? "found" : "") : "welcome");
  if (!asked) return html`<${Welcome} catalog=${catalog} />`;
  if (Found) return html`<${Found} now=${now} catalog=${catalog} />`;
  return html`<div class="view">
    <h1 tabindex="-1">Similar products</h1>
    ${error ? html`<${Unloaded} again=${again} />` : html`<${Loading} what="Loading" />`}
  </div>`;
}

function Welcome({catalog: {value, error, again}}) {
  return html`<div class="view welcome">
    <div>
      <h1 tabindex="-1">Search by photo</h1>
      <p class="muted">${value ? `Finds what looks alike among ${valueText(value.products)} products.` : "\u00a0"}</p>
    </div>
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!error?.needsKey && html`<${Intake} onPhoto=${searchPhoto} onProduct=${(one) => searchProduct(one)} />`}
  </div>`;
}

/** Searches again when what a search failed for is there: the connection, or a key. */
function useAgain({error, k}) {
  const {back} = useConnection();
  const key = useKey();
  const first = useRef(true);
  useEffect(() => {
    if (!first.current && (error?.offline || error?.needsKey)) search(k);
    first.current = false;
  }, [back, key]);
}

/** Begins at the top, with the heading, when the place for a photo and the results take turns. */
function useTop(shown) {
  const before = useRef(shown);
  useEffect(() => {
    if (!shown || before.current === shown) return;
    before.current = shown;
    scrollTo(0, 0);
    document.querySelector("main h1").focus({preventScroll: true});
  }, [shown]);
}
