// One product by its id: what it is, and the buttons to edit and delete it.
import {html, useEffect, useState} from "./vendor.js";
import {productPath, service} from "./service.js";
import {Picture} from "./picture.js";
import {productLink, valueText} from "./grid.js";
import {Loading} from "./states.js";
import {Confirmed, Failure, useAction} from "./acting.js";

/**
 * Finds a product by its id.
 * @param {{start: string, writable: boolean, onEdit: function(object), onDeleted: function(object)}} props `start` is
 *   an id to begin with; `onDeleted` is told {productId, sequence, acknowledgedS, deleted}
 */
export function ProductLookup({start, writable, onEdit, onDeleted}) {
  const [id, setId] = useState(start);
  const [found, setFound] = useState(null);
  const looking = useAction((wanted) => service.get(productPath(wanted)), setFound);
  const find = (wanted) => {
    setFound(null);
    looking.run(wanted);
  };
  useEffect(() => {
    if (start) setId(start), find(start);
  }, [start]);
  const submit = (event) => (event.preventDefault(), find(id.trim()));
  return html`<section class="panel stack" aria-labelledby="find-product">
    <h2 id="find-product">Find a product</h2>
    <form class="bar find" onSubmit=${submit}>
      <label class="field"><span>Id of the product</span>
        <input name="find_id" required autocomplete="off" spellcheck="false" value=${id}
          onInput=${(e) => setId(e.target.value)} />
      </label>
      <button class="button" disabled=${looking.busy}>Find</button>
    </form>
    ${looking.busy && html`<${Loading} what="Looking it up" />`}
    <${Failure} action=${looking} />
    ${found && html`<${Found} key=${found.product.product_id} found=${found} writable=${writable} onEdit=${onEdit}
      onDeleted=${(write) => (setFound(null), setId(""), onDeleted(write))} />`}
  </section>`;
}

function Found({found: {product, images}, writable, onEdit, onDeleted}) {
  const deleting = useAction(remove, onDeleted);
  return html`<article class="found" aria-label=${`Product ${product.product_id}`}>
    <a class="found-picture" href=${productLink(product.product_id)}>
      <${Picture} product=${product} size=${320} alt=${`Open product ${product.product_id}`} />
    </a>
    <div class="stack">
      <dl class="facts">
        <dt>Id</dt><dd class="id">${product.product_id}</dd>
        <dt>Category</dt><dd>${product.category || "–"}</dd>
        ${Object.entries(product.attributes).map(
          ([name, value]) => html`<dt>${name.replaceAll("_", " ")}</dt>
          <dd>${value == null ? "–" : valueText(value)}</dd>`,
        )}
        ${images.length > 1 && html`<dt>Pictures</dt><dd>${images.length}</dd>`}
      </dl>
      ${writable && html`<div class="bar">
        <button type="button" class="button small" onClick=${() => onEdit(product)}>Edit</button>
        <${Confirmed} label="Delete" danger busy=${deleting.busy}
          question=${`Delete ${product.product_id} from the catalogue?`}
          confirm="Delete it" keep="Keep it" onConfirm=${() => deleting.run(product.product_id)} />
      </div>`}
      <${Failure} action=${deleting} saying="It was not deleted." />
    </div>
  </article>`;
}

async function remove(id) {
  const started = performance.now();
  const {sequence} = await service.remove(productPath(id));
  return {productId: id, sequence, acknowledgedS: (performance.now() - started) / 1000, deleted: true};
}
