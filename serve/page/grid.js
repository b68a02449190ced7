// Products as a shop shows them: a picture, what it is, and how similar it is to what was searched for.
import {html, useMemo} from "./vendor.js";
import {Picture} from "./picture.js";
import {attributesText} from "./words.js";

export {valueText} from "./words.js";

/** A score as it is written everywhere on the page. */
export const scoreText = (score) => score.toFixed(2);

/** Where a product is shown. */
export const productLink = (id) => `#/product/${encodeURIComponent(id)}`;

/** A score as a number and a thin bar. */
const Score = ({score}) =>
  html`<span class="score" title=${`Similarity ${score.toFixed(4)} of 1`}>
    <span class="score-bar" aria-hidden="true">
      <i style=${{width: `${100 * Math.min(1, Math.max(0, score))}%`}}></i>
    </span>
    <span><span class="visually-hidden">Similarity ${" "}</span>${scoreText(score)}</span>
  </span>`;

/**
 * Products in a grid.
 * @param {{results: Array, label: string, actions?: function(object): *}} props a result with a `score` shows it;
 *   `actions` gives a card's further buttons, and has to stay the same function for cards to be drawn once
 */
export const Grid = ({results, label, actions}) =>
  html`<ul class="grid" aria-label=${label}>
    ${results.map((one) => html`<${Card} key=${one.product_id} result=${one} actions=${actions} />`)}
  </ul>`;

function Card({result, actions}) {
  return useMemo(() => card(result, actions), [result, actions]);
}

function card(result, actions) {
  const {product_id: id, category, score} = result;
  return html`<li class="card" data-product=${id} data-score=${score}>
    <a class="card-link" href=${productLink(id)}>
      <span class="card-picture"><${Picture} product=${result} size=${320} /></span>
      <span class="card-head">
        <strong>${category || "Product"}</strong>${score != null && html`<${Score} score=${score} />`}
      </span>
      <span class="card-more">${attributesText(result.attributes)}</span>
      <span class="card-id" title=${id}>${id}</span>
    </a>
    ${actions && html`<div class="card-actions">${actions(result)}</div>`}
  </li>`;
}
