// The merchandiser's view: add, replace, find and delete products, and see when answers hold what was written.
import "./desk.js";
import {html, useCallback, useRef, useState} from "./vendor.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {Headline, Partial, Problem, Skeletons} from "./states.js";
import {Stale} from "./acting.js";
import {Browsing} from "./browsing.js";
import {Facts} from "./facts.js";
import {ProductForm} from "./product_form.js";
import {ProductLookup} from "./product_lookup.js";
import {WriteOutcome} from "./write_outcome.js";
import {Waiting} from "./waiting.js";
import {clockText, countText} from "./wording.js";

const EVERY_MS = 10000;

/** The view; `argument` is the id of a product to begin with. */
export default function Catalogue({argument}) {
  const asked = useAsked(catalogNow, [], {everyMs: EVERY_MS});
  const {value, error, again} = asked;
  return html`<div class="view desk">
    <${Headline} title="Catalogue" />
    <${Stale} asked=${asked} at=${value?.at} />
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value && !error && html`<${Waiting} what="Asking for the catalogue" panels=${[8]} /><${Skeletons} count=${6} />`}
    ${value && html`<${Partial} answer=${value.catalog} /><${Figures} ...${value} />
      <${Desk} catalog=${value.catalog} start=${argument || ""} again=${again} />`}
  </div>`;
}

async function catalogNow(signal) {
  const [catalog, status] = await Promise.all(["/v1/catalog", "/v1/status"].map((path) => service.get(path, {signal})));
  return {catalog, status, at: clockText(Date.now())};
}

function Figures({catalog, status}) {
  const {journal} = status;
  const waiting = journal?.lag;
  return html`<${Facts} label="The catalogue in figures" facts=${[
    ["Products", countText(catalog.products)],
    ["Images", countText(catalog.images)],
    ["Catalogue", catalog.catalog, "id"],
    ["Release", catalog.release, "id"],
    ["Last write", journal ? countText(journal.head) : "none: read-only"],
    journal && ["Writes that answers don't hold yet", waiting ? countText(waiting) : "none", waiting ? "warn" : "good"],
  ]} />`;
}

function Desk({catalog, start, again}) {
  const [form, setForm] = useState({product: null, turn: 0});
  const [write, setWrite] = useState(null);
  const [turn, setTurn] = useState(0);
  const place = useRef();
  const fill = useCallback((product) => {
    setForm((now) => ({product, turn: now.turn + 1}));
    requestAnimationFrame(() => {
      place.current?.scrollIntoView({block: "start"});
      place.current?.querySelector('[name="category"]')?.focus({preventScroll: true});
    });
  }, []);
  const deleted = (told) => {
    setWrite(told);
    if (form.product?.product_id === told.productId) setForm((now) => ({product: null, turn: now.turn + 1}));
  };
  const seen = useCallback(() => (setTurn((now) => now + 1), again()), [again]);
  return html`<div class="desk-columns">
      <div ref=${place} class="anchor">
        ${catalog.writable
          ? html`<${ProductForm} key=${form.turn} catalog=${catalog} product=${form.product} onSaved=${setWrite}
            onClear=${() => fill(null)} />`
          : html`<${ReadOnly} />`}
      </div>
      <div class="stack">
        ${write && html`<${WriteOutcome} key=${write.sequence} write=${write} onSeen=${seen} />`}
        ${!write && catalog.writable && html`<p class="waiting muted">When a product is saved, it is shown
          here how soon searches find it, and what lies nearest to it.</p>`}
        <${ProductLookup} start=${start} writable=${catalog.writable} onEdit=${fill} onDeleted=${deleted} />
      </div>
    </div>
    <${Browsing} catalog=${catalog} turn=${turn} onEdit=${catalog.writable ? fill : null} />`;
}

const ReadOnly = () =>
  html`<section class="note warn stack" aria-labelledby="read-only">
    <h2 id="read-only">This catalogue is read-only</h2>
    <p>The service runs without a journal, so products can be looked at but not added, replaced or deleted. What changes
      comes with the next release.</p>
  </section>`;
