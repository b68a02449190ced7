// What is searched for and its filters at the left, what was found at the right.
import {html, useLayoutEffect} from "./vendor.js";
import {settings} from "./conditions.js";
import {Filters, Settings} from "./filters.js";
import {useMedia} from "./media.js";
import {Query} from "./photo.js";
import {Results} from "./results.js";
import {narrow, session} from "./session.js";
import {Problem} from "./states.js";
import {styled} from "./styled.js";

await styled("found.css");

/** The search under way; `now` is what the session holds, `catalog` the catalogue as it was asked for. */
export default function Found({now, catalog}) {
  usePlace();
  return html`<div class="view search">
    <div class="side">
      <${Query} now=${now} catalog=${catalog.value} />
      <${Narrowing} filter=${now.filter} catalog=${catalog} />
    </div>
    <div class="found">
      <h1 tabindex="-1">Similar products</h1>
      <${Settings} value=${now.filter} onChange=${narrow} />
      <${Results} now=${now} chance=${catalog.value?.chance} />
    </div>
  </div>`;
}

function Narrowing({filter, catalog: {value: catalog, error, again}}) {
  const wide = useMedia("(min-width: 900px)");
  if (!catalog) return error && !error.needsKey && html`<${Problem} error=${error} again=${again} />`;
  const count = settings(filter).length;
  const filters = html`<${Filters} catalog=${catalog} value=${filter} onChange=${narrow} />`;
  if (wide) return html`<section class="panel" aria-label="Filters">${filters}</section>`;
  return html`<details class="panel narrowing">
    <summary>Filters${count ? ` (${count})` : ""}</summary>${filters}
  </details>`;
}

/** Notes where the reader was when the view is left, and brings them back to that card when it is opened again. */
function usePlace() {
  useLayoutEffect(() => {
    const {place} = session.get();
    const link = place && document.querySelector(`[data-product="${CSS.escape(place.id)}"] a`);
    if (link) scrollTo(0, scrollY + link.getBoundingClientRect().top - place.top);
    if (link && place.opened) link.focus({preventScroll: true});
    let opened = null;
    const clicked = (event) => (opened = event.target.closest("[data-product] a"));
    document.addEventListener("click", clicked);
    return () => {
      document.removeEventListener("click", clicked);
      session.set({place: placeOf(opened || firstSeen(), Boolean(opened))});
    };
  }, []);
}

const firstSeen = () =>
  [...document.querySelectorAll(".results [data-product] a")].find((one) => one.getBoundingClientRect().bottom > 100);

function placeOf(link, opened) {
  const top = link?.getBoundingClientRect().top;
  return link && (scrollY || opened) ? {id: link.parentElement.dataset.product, top, opened} : null;
}
