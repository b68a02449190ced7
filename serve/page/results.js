// What was found: how many products, for what and how fast, then the products; and in honest words when nothing passes
// the filters or nothing is nearer than products are by chance.
import {html} from "./vendor.js";
import {isEmpty} from "./conditions.js";
import {boxName} from "./boxes.js";
import {Grid, scoreText} from "./grid.js";
import {Icon} from "./icons.js";
import {judge, more, MOST, narrow, search, session} from "./session.js";
import {Empty, Partial, Problem, Skeletons} from "./states.js";

/** The results of the session `now`; `chance` is the score that products without relation seldom exceed, if known. */
export function Results({now, chance}) {
  const {answer, error, loading} = now;
  return html`<div class="results" aria-busy=${loading}>
    <${Summary} now=${now} chance=${chance} />
    ${error && !loading && html`<${Problem} error=${error} again=${() => search(now.k)} />`}
    <${Partial} answer=${answer} />
    ${answer ? html`<${Found} now=${now} chance=${chance} />` : loading && html`<${Skeletons} count=${12} />`}
  </div>`;
}

function Summary({now, chance}) {
  const {answer, loading} = now;
  return html`<div class="summary">
    <p role="status" aria-live="polite">
      ${loading && html`<span class="spinner" aria-hidden="true"></span>`}${loading ? "Searching" : said(now, chance)}
    </p>
    ${answer &&
    html`<p class="muted figures">${answer.located?.detail && `${answer.located.detail} · `}
      <span class="nowrap">${time(answer)}</span> · <span class="nowrap">release ${answer.release}</span></p>`}
  </div>`;
}

function said(now, chance) {
  if (!now.answer) return "";
  if (now.error) return "These are the results of the search before.";
  const count = now.answer.results.length;
  if (count && !now.far && !byChance(now, chance).near.length) return `Nothing similar enough ${searchedFor(now)}`;
  return `${count} ${count === 1 ? "product" : "products"} ${searchedFor(now)}`;
}

const time = ({timings_ms: timings}) => `${Math.max(1, Math.round(timings?.total))} ms`;

function searchedFor({answer, photo, product, boxes, active}) {
  if (product) return `like ${product.category || "product"} ${product.product_id}`;
  if (!photo) return "like those chosen";
  const by = answer.located?.by;
  const box = boxes[active];
  if (by === "detection") return `for the item found in the photo${box?.name ? ` (${boxName(box)})` : ""}`;
  if (by !== "box") return "for the whole photo";
  return `for what is in the box${box?.found && box.name ? ` (${box.name})` : ""}`;
}

/** Results split where they are no nearer than chance; all are near if that is unknown, or wishes shift the scores. */
function byChance({answer, positive, negative}, chance) {
  const known = chance != null && !positive.length && !negative.length;
  const isNear = ({score}) => !known || score > chance; // likely categories come forward, so scores may go up and down
  return {near: answer.results.filter(isNear), far: answer.results.filter((one) => !isNear(one))};
}

function Found({now, chance}) {
  if (!now.answer.results.length) return html`<${Nothing} filter=${now.filter} />`;
  const {near, far} = byChance(now, chance);
  if (!near.length && !now.far) return html`<${TooFar} best=${far[0].score} chance=${chance} />`;
  return html`
    ${near.length > 0 && html`<${Grid} results=${near} label="Results" actions=${actions} />`}
    ${far.length > 0 &&
    html`<h2 class="divider"><span>Further away than chance (${scoreText(chance)})</span></h2>
      <${Grid} results=${far} label="Further away than chance" actions=${actions} />`}
    <${More} now=${now} />
  `;
}

function Nothing({filter}) {
  if (isEmpty(filter))
    return html`<${Empty} title="Nothing was found"><p>The catalogue holds nothing else to show.</p></${Empty}>`;
  return html`<${Empty} title="Nothing passes the filters">
    <p>No product of the catalogue has all that the filters ask for.</p>
    <button type="button" class="button" onClick=${() => narrow({})}>Remove the filters</button>
  </${Empty}>`;
}

const TooFar = ({best, chance}) =>
  html`<${Empty} title="Nothing in the catalogue is similar enough to this">
    <p>The nearest reach ${scoreText(best)}; two products that have nothing to do with each other reach
      ${" "}${scoreText(chance)} by chance.</p>
    <button type="button" class="button" onClick=${() => session.set({far: true})}>
      Show the nearest all the same</button>
  </${Empty}>`;

function More({now: {answer, k, loading}}) {
  if (answer.results.length < k || k >= MOST) return null;
  return html`<div class="more">
    <button type="button" class="button" disabled=${loading} onClick=${more}>Show more</button>
  </div>`;
}

function actions(result) {
  const name = `${result.category || "product"} ${result.product_id}`;
  const button = (kind, label, icon) =>
    html`<button type="button" class="round" title=${label} aria-label=${`${label}: ${name}`}
      onClick=${(event) => (onward(event), judge(kind, result))}><${Icon} name=${icon} /></button>`;
  return html`${button("positive", "More like this", "like")}${button("negative", "Not like this", "dislike")}`;
}

/** A product that is judged leaves the results: with the keyboard, one goes on at the next. */
function onward({detail, currentTarget}) {
  if (detail === 0) currentTarget.closest("li").nextElementSibling?.querySelector("a").focus({preventScroll: true});
}
