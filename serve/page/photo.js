// What is searched for, beside its results: the photo with its boxes, or the product, and what can be done with them.
import {html, useEffect, useState} from "./vendor.js";
import {Boxes} from "./boxes.js";
import {productLink} from "./grid.js";
import {Icon} from "./icons.js";
import {Intake} from "./intake.js";
import {Picture} from "./picture.js";
import {choose, findItems, forget, placeBox, removeBox, searchPhoto, searchProduct, startOver} from "./session.js";

const MIDDLE = [0.25, 0.25, 0.75, 0.75];

/** The query; `now` is what the session holds, `catalog` says whether there is a detector. */
export const Query = ({now, catalog}) =>
  html`<section class="query panel" aria-label="What is searched for">
    ${now.photo && html`<${Photo} key=${now.photo.url} now=${now} catalog=${catalog} />`}
    ${now.product && html`<${Product} product=${now.product} />`}
    <${Wishes} kind="positive" title="Like these" products=${now.positive} />
    <${Wishes} kind="negative" title="Not like these" products=${now.negative} />
    <div class="bar tight">
      <${Intake} compact onPhoto=${searchPhoto} onProduct=${(one) => searchProduct(one)} />
      <button type="button" class="button small quiet" onClick=${startOver}>Start over</button>
    </div>
  </section>`;

function Photo({now: {photo, boxes, active, answer}, catalog}) {
  const [drawing, setDrawing] = useState(false);
  const [ratio, setRatio] = useState(1); // of the photo's width to its height; 0 if it can't be shown
  useEscape(() => setDrawing(false));
  const draw = (event) => {
    if (event.detail) return setDrawing(!drawing);
    placeBox(boxes.length, MIDDLE);
    requestAnimationFrame(() => document.querySelector(`.box[data-index="${boxes.length}"]`)?.focus());
  };
  const remove = (index) => {
    removeBox(index);
    document.querySelector(".draw").focus();
  };
  const unlooked = catalog?.detector && answer?.located?.by === "whole" && !answer.located.detail && !boxes.length;
  if (!ratio) return html`<p class="note">The browser can't show this photo.</p>`;
  return html`<div class="photo" style=${{width: `calc(var(--tall) * ${ratio})`}}>
      <img src=${photo.url} alt="The photo that is searched for" draggable=${false} onError=${() => setRatio(0)}
        onLoad=${({target}) => setRatio(target.naturalWidth / target.naturalHeight || 1)} />
      <${Boxes} boxes=${boxes} active=${active} drawing=${drawing} onChoose=${choose} onPlace=${placeBox}
        onRemove=${remove} onDrawn=${() => setDrawing(false)} />
    </div>
    <div class="bar tight" role="group" aria-label="What of the photo to search for">
      <button type="button" class="button small" aria-pressed=${active === null} onClick=${() => choose(null)}>
        <${Icon} name="whole" />Whole photo</button>
      <button type="button" class="button small draw" aria-pressed=${drawing} onClick=${draw}>
        <${Icon} name="box" />Draw a box</button>
      ${unlooked && html`<button type="button" class="button small" onClick=${findItems}>Find items</button>`}
    </div>
    ${drawing && html`<p class="muted" role="status">Draw a box on the photo around what you are looking for.</p>`}`;
}

function useEscape(act) {
  useEffect(() => {
    const pressed = (event) => event.key === "Escape" && act();
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

const Product = ({product}) =>
  html`<a class="asked-product" href=${productLink(product.product_id)}>
    <span class="photo"><${Picture} product=${product} size=${640} /></span>
    <span><strong>${product.category || "Product"}</strong> <span class="muted">${product.product_id}</span></span>
  </a>`;

function Wishes({kind, title, products}) {
  if (!products.length) return null;
  return html`<div class="wishes"><h2>${title}</h2>
    <ul class="chips">
      ${products.map(
        (one) => html`<li key=${one.product_id}><button type="button" class="chip"
          aria-label=${`Remove ${one.product_id} from “${title}”`} onClick=${() => forget(kind, one.product_id)}>
          <${Picture} product=${one} size=${160} />${one.category || one.product_id}
          <${Icon} name="close" /></button></li>`,
      )}
    </ul></div>`;
}
