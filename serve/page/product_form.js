// The form that adds a product or replaces one. What it holds outlasts a refusal and the question for a key.
import {html, useRef, useState} from "./vendor.js";
import {service} from "./service.js";
import {Picture} from "./picture.js";
import {Failure, useAction} from "./acting.js";
import {AttributeField, fieldText, filled} from "./attribute_fields.js";
import {Drop, FilePicture} from "./dropping.js";

/**
 * The form.
 * @param {{catalog: object, product: ?object, onSaved: function(object): void, onClear: function(): void}} props
 *   `product` is the one to replace; `onSaved` is told {productId, sequence, acknowledgedS, picture}
 */
export function ProductForm({catalog, product, onSaved, onClear}) {
  const [id, setId] = useState(product?.product_id || "");
  const [category, setCategory] = useState(product?.category || "");
  const [texts, setTexts] = useState(() => startTexts(catalog.attributes, product));
  const [picture, setPicture] = useState(null);
  const saving = useAction(save, onSaved);
  const submit = (event) => {
    event.preventDefault();
    const attributes = filled(catalog.attributes, texts, product?.attributes);
    saving.run({product_id: id.trim(), category: category.trim(), attributes}, picture);
  };
  return html`<div class="panel stack">
    <div class="bar">
      <h2 id="product-form">${product ? "Replace a product" : "Add or replace a product"}</h2>
      <button type="button" class="button quiet small end" onClick=${onClear}>Empty the form</button>
    </div>
    <form class="stack" aria-labelledby="product-form" onSubmit=${submit}>
      <${PictureField} picture=${picture} product=${product} onPicture=${setPicture} />
      <div class="fields">
        <label class="field"><span>Product id</span>
          <input name="product_id" required autocomplete="off" spellcheck="false" value=${id}
            onInput=${(e) => setId(e.target.value)} />
        </label>
        <label class="field"><span>Category</span>
          <input name="category" list="known-categories" autocomplete="off" value=${category}
            onInput=${(e) => setCategory(e.target.value)} />
          <datalist id="known-categories">
            ${catalog.categories.map(({value}) => html`<option value=${value}></option>`)}
          </datalist>
        </label>
        ${catalog.attributes.map(
          (attribute) => html`<${AttributeField} key=${attribute.name} attribute=${attribute}
            text=${texts[attribute.name] || ""}
            onText=${(text) => setTexts((now) => ({...now, [attribute.name]: text}))} />`,
        )}
      </div>
      <div class="bar">
        <button class="button primary" disabled=${saving.busy}>${saving.busy ? "Saving …" : "Save the product"}</button>
        <span class="muted">An id that the catalogue has is replaced. Empty fields are not sent.</span>
      </div>
    </form>
    <${Failure} action=${saving} saying="The product was not taken." />
  </div>`;
}

function PictureField({picture, product, onPicture}) {
  const taken = useRef();
  taken.current ??= ([file]) => onPicture(file);
  const label = picture ? picture.name || "A pasted picture" : product ? "Another picture" : "Picture";
  const keeps = product && !picture ? "; without it the product keeps its own." : ".";
  const hint = `Drop one here, choose it or paste it${keeps}`;
  return html`<${Drop} label=${label} hint=${hint} onFiles=${taken.current}>
    ${picture && html`<${FilePicture} file=${picture} alt="The picture to save" />`}
    ${!picture && product && html`<${Picture} product=${product} size=${160} alt="The product's picture so far" />`}
    ${!picture && !product && html`<span class="dropzone-sign" aria-hidden="true">+</span>`}
  <//>`;
}

const startTexts = (attributes, product) =>
  Object.fromEntries(attributes.map((one) => [one.name, fieldText(one, product?.attributes[one.name])]));

async function save(product, picture) {
  const form = new FormData();
  form.append("product", JSON.stringify(product));
  if (picture) form.append("image", picture, picture.name || "picture");
  const started = performance.now();
  const answer = await service.put("/v1/products", {form});
  const acknowledgedS = (performance.now() - started) / 1000;
  const refused = answer.products.find(({status}) => status !== "ok");
  if (refused) throw new Error(refused.detail);
  return {productId: product.product_id, sequence: answer.sequence, acknowledgedS, picture};
}
