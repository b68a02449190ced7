// A product: its pictures, what the catalogue says of it, what looks alike, and what may be the same thing twice.
import {html, useState} from "./vendor.js";
import {useAsked} from "./asked.js";
import {Grid} from "./grid.js";
import {Picture} from "./picture.js";
import {address, productPath, service} from "./service.js";
import {searchProduct} from "./session.js";
import {styled} from "./styled.js";
import {Headline, Loading, Partial, Problem, Skeletons} from "./states.js";
import {titled, valueText} from "./words.js";

await styled("product.css");

/** The view of `#/product/ID`. */
export default function ProductView({argument: id}) {
  const {value, error, again} = useAsked((signal) => service.get(productPath(id), {signal}), [id]);
  const product = value?.product;
  const back = html`<a href="#/">Back to the search</a>`;
  if (!product)
    return html`<div class="view product-view"><${Headline} title=${id}>${back}</${Headline}>
      ${error && html`<${Problem} error=${error} again=${error.status === 404 ? null : again} />`}
      ${!error && html`<${Loading} what="Loading the product" />`}
    </div>`;
  return html`<div class="view product-view">
    <${Headline} title=${`${product.category || "Product"} ${id}`}>${back}</${Headline}>
    <${Partial} answer=${value} />
    <div class="product-top">
      <${Pictures} product=${product} images=${value.images} />
      <${About} product=${product} images=${value.images} />
    </div>
    <${Similar} id=${id} />
    <${Duplicates} id=${id} />
  </div>`;
}

function Pictures({product, images}) {
  const [shown, setShown] = useState(0);
  const pictures = images.length > 1 ? images.map((image) => pictureOf(product, image)) : [product];
  const name = `${product.category || "Product"} ${product.product_id}`;
  return html`<div class="product-pictures">
    <div class="product-picture">
      <${Picture} key=${shown} product=${pictures[shown] || product} size=${640} alt=${name} />
    </div>
    ${pictures.length > 1 &&
    html`<div class="bar tight" role="group" aria-label="Pictures">
      ${pictures.map(
        (one, index) => html`<button type="button" class="product-thumb" aria-pressed=${index === shown}
          aria-label=${`Picture ${index + 1} of ${pictures.length}`} onClick=${() => setShown(index)}>
          <${Picture} product=${one} size=${160} /></button>`,
      )}
    </div>`}
  </div>`;
}

/** A product with another of its pictures. */
function pictureOf(product, image) {
  if (image === product.image_id) return product;
  return {...product, image_url: address(`${productPath(product.product_id)}/image`, {image_id: image})};
}

function About({product, images}) {
  const search = (filter) => () => {
    searchProduct(product, filter);
    location.hash = "#/";
  };
  const among = search({category: [product.category]});
  const category = html`<a href="#/" onClick=${among} title="Search among these">${product.category}</a>`;
  const rows = [
    ["Product", product.product_id],
    ["Category", product.category && category],
    ...Object.entries(product.attributes || {}).map(([name, value]) => [titled(name), valueText(value ?? "")]),
    ["Pictures", String(images.length)],
  ].filter(([, value]) => value);
  return html`<div class="product-about">
    <dl>${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <button type="button" class="button primary" onClick=${search()}>Search with this product</button>
  </div>`;
}

function Similar({id}) {
  const {value, error, again} = useAsked(
    (signal) => service.get(address(`/v1/recommend/${encodeURIComponent(id)}`, {k: 12}), {signal}), [id]);
  return html`<section class="product-row" aria-label="Visually similar">
    <h2>Visually similar</h2>
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value && !error && html`<${Skeletons} count=${6} />`}
    ${value?.results.length > 0 && html`<${Grid} results=${value.results} label="Visually similar" />`}
    ${value?.results.length === 0 && html`<p class="muted">Nothing else is in the catalogue.</p>`}
  </section>`;
}

function Duplicates({id}) {
  const {value, error, again} = useAsked((signal) => service.get(`${productPath(id)}/duplicates`, {signal}), [id]);
  return html`<section class="product-row" aria-label="Duplicates">
    <h2>Duplicates</h2>
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value && !error && html`<${Loading} what="Looking for duplicates" />`}
    ${value?.results.length > 0 && html`<${Grid} results=${value.results} label="Duplicates" actions=${samePicture} />`}
    ${value?.results.length === 0 &&
    html`<p class="muted">No duplicates: nothing else in the catalogue reaches a similarity of ${value.min_score}.</p>`}
  </section>`;
}

const samePicture = (result) => result.same_picture && html`<span class="badge">The same picture</span>`;
