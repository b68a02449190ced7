// One query and what the two releases find for it: what both have is marked, and how it moved from A to B.
import {html, useState} from "./vendor.js";
import {Picture} from "./picture.js";
import {Problem} from "./states.js";
import {productLink, scoreText} from "./grid.js";
import {K} from "./answers.js";
import {setCategory, vote as cast} from "./comparison.js";
import {FilePicture} from "./dropping.js";
import {moves} from "./judging.js";

/** The row. */
export function CompareRow({row: {query, a, b}, both, vote, ready, categories, again}) {
  const [lit, setLit] = useState("");
  const resultsA = a?.results;
  const resultsB = b?.results;
  const shared = {query, lit, onLit: setLit, ready, again};
  return html`<li class="panel compare-row" data-query=${query.label}>
    <${Query} query=${query} categories=${categories} />
    <${Column} side="A" release=${both.a} answered=${a} moved=${resultsA && resultsB && moves(resultsA, resultsB)}
      ...${shared} />
    <${Column} side="B" release=${both.b} answered=${b} moved=${resultsA && resultsB && moves(resultsB, resultsA)}
      ...${shared} />
    <${Vote} query=${query} vote=${vote} disabled=${!(resultsA && resultsB)} />
  </li>`;
}

function Query({query: {key, label, product, file, category}, categories}) {
  return html`<div class="compare-query">
    <h3 class="id">${product ? html`<a href=${productLink(product.product_id)}>${label}</a>` : label}</h3>
    <div class="compare-picture">
      ${product ? html`<${Picture} product=${product} size=${320} />` : html`<${FilePicture} file=${file} />`}
    </div>
    ${product
      ? html`<p>${category || "No category"}</p>`
      : html`<label class="field"><span>What it shows</span>
          <select value=${category} onChange=${(event) => setCategory(key, event.target.value)}>
            <option value="">not said</option>
            ${categories.map((one) => html`<option value=${one}>${one}</option>`)}
          </select></label>`}
  </div>`;
}

function Column({side, release, answered, moved, query, lit, onLit, ready, again}) {
  return html`<div class="compare-side" role="group" aria-label=${`${side}: ${release}`}>
    <p class="side-name"><b class="side-letter">${side}</b> <span class="id muted">${release}</span>
      ${answered?.answer?.partial && html`<span class="mark warn">partial</span>`}</p>
    ${answered?.error && html`<${Problem} error=${answered.error} again=${again} />`}
    ${!answered && (ready ? html`<${Awaited} />` : html`<p class="muted">Waits until this release is served.</p>`)}
    ${answered?.results && (answered.results.length
      ? html`<ol class="finds" aria-label=${`Results of ${side}`}>
          ${answered.results.map(
            (result, at) => html`<${Find} key=${result.product_id} result=${result} rank=${at + 1} side=${side}
              move=${moved?.get(result.product_id)} known=${Boolean(moved)} category=${query.category}
              lit=${lit === result.product_id} onLit=${onLit} />`,
          )}
        </ol>`
      : html`<p class="muted">Nothing was found.</p>`)}
  </div>`;
}

const Awaited = () =>
  html`<div class="finds" role="status" aria-label="Searching">
    ${Array.from({length: K}, () => html`<span class="find-picture skeleton" aria-hidden="true"></span>`)}
  </div>`;

function Find({result, rank, side, move, known, category, lit, onLit}) {
  const id = result.product_id;
  const both = known && move != null;
  const right = category && result.category === category;
  const [on, off] = [() => onLit(id), () => onLit("")];
  const light = {onMouseEnter: on, onMouseLeave: off, onFocus: on, onBlur: off};
  return html`<li class="found-one ${both ? "both" : ""} ${lit ? "lit" : ""}" data-product=${id}>
    <a href=${productLink(id)} title=${`${id}, similarity ${scoreText(result.score)}`} ...${light}>
      <span class="find-picture"><${Picture} product=${result} size=${160} alt=${`${rank}: ${id}`} />
        <b class="rank" aria-hidden="true">${rank}</b></span>
    </a>
    <p class="small ${right ? "" : "muted"}">
      ${category && html`<span class=${right ? "good" : "bad"} aria-hidden="true">${right ? "✓ " : "✕ "}</span>`}
      ${result.category || "–"}</p>
    ${known && html`<p class="small"><${Move} side=${side} move=${move} /></p>`}
  </li>`;
}

/** How a result moved from A to B; on A's side only whether B has it too. */
function Move({side, move}) {
  if (move == null && side === "A") return html`<span class="mark">only in A</span>`;
  if (move == null) return html`<span class="mark warn">new</span>`;
  if (side === "A") return html`<span class="mark accent">in both</span>`;
  const words = move === 0 ? "same" : move > 0 ? `up ${move}` : `down ${-move}`;
  return html`<span class="mark accent">${move > 0 ? "↑ " : move < 0 ? "↓ " : ""}${words}</span>`;
}

function Vote({query, vote, disabled}) {
  const button = (side, words) =>
    html`<button type="button" class="button small" aria-pressed=${vote === side} disabled=${disabled}
      onClick=${() => cast(query.key, side)}>${words}</button>`;
  return html`<div class="vote" role="group" aria-label=${`Which is better for ${query.label}?`}>
    ${button("A", "A is better")}${button("same", "The same")}${button("B", "B is better")}
  </div>`;
}
