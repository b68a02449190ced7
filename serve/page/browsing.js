// A look into the catalogue: a few products at random, of all categories or of one.
import {html, useCallback, useState} from "./vendor.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {Grid} from "./grid.js";
import {Empty, Partial, Problem, Skeletons} from "./states.js";
import {countText} from "./wording.js";

const SAMPLE = 24;

/**
 * Random products with a link each.
 * @param {{catalog: object, turn: number, onEdit: ?function(object)}} props they are drawn again when `turn` changes;
 *   without `onEdit` there is no button to edit
 */
export function Browsing({catalog, turn, onEdit}) {
  const [category, setCategory] = useState("");
  const [seed, setSeed] = useState(1);
  const asked = useAsked(
    (signal) => service.get("/v1/products", {query: {sample: SAMPLE, seed, category}, signal}),
    [category, seed, turn],
  );
  const actions = useCallback((product) => html`<${EditButton} product=${product} onEdit=${onEdit} />`, [onEdit]);
  return html`<section class="stack" aria-labelledby="browse">
    <div class="bar">
      <h2 id="browse">Browse</h2>
      <label class="field beside end"><span>Category</span>
        <select value=${category} onChange=${(event) => setCategory(event.target.value)}>
          <option value="">All categories</option>
          ${catalog.categories.map(
            ({value, count}) => html`<option value=${value}>${value} (${countText(count)})</option>`,
          )}
        </select>
      </label>
      <button type="button" class="button" onClick=${() => setSeed((now) => now + 1)}>Show others</button>
    </div>
    <${Partial} answer=${asked.value} />
    <${Sample} asked=${asked} actions=${onEdit && actions} />
  </section>`;
}

function Sample({asked: {value, error, again}, actions}) {
  if (error && !value) return html`<${Problem} error=${error} again=${again} />`;
  if (!value) return html`<${Skeletons} count=${12} />`;
  if (!value.results.length)
    return html`<${Empty} title="No products here"><p>This category holds none, or the catalogue is empty.</p><//>`;
  return html`<${Grid} results=${value.results} label="Products of the catalogue" actions=${actions} />`;
}

const EditButton = ({product, onEdit}) =>
  html`<button type="button" class="round" aria-label=${`Edit ${product.product_id}`} title="Edit"
    onClick=${() => onEdit(product)}>
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round"
      aria-hidden="true">
      <path d="M4 20l1-4.5L16.5 4l3.5 3.5L8.5 19z M14 6.5L17.5 10" />
    </svg>
  </button>`;
