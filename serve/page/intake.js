// How a photo comes in: dropped anywhere on the page, pasted, chosen or taken; or a product to begin with.
import {html, useEffect, useState} from "./vendor.js";
import {useAsked} from "./asked.js";
import {Icon} from "./icons.js";
import {Picture} from "./picture.js";
import {address, service} from "./service.js";
import {Problem} from "./states.js";

const EXAMPLES = 12;
let seed = Math.ceil(Math.random() * 1e6);

/**
 * Takes a photo or a product.
 * @param {{onPhoto: function(File), onProduct?: function(object), compact?: boolean}} props `compact` is a button only;
 *   without `onProduct` there are no examples
 */
export function Intake({onPhoto, onProduct, compact}) {
  const over = useDropped(onPhoto);
  usePasted(onPhoto);
  const veil = over && html`<div class="drop-veil" aria-hidden="true"><p>Drop the photo to search with it</p></div>`;
  if (compact) return html`<${FileButton} label="Other photo" icon="photo" look="small" onPhoto=${onPhoto} />${veil}`;
  return html`<div class="intake">
    <div class="drop">
      <${Icon} name="photo" />
      <p class="drop-title by-mouse">Drop a photo here</p>
      <p class="muted by-mouse">anywhere on the page, or paste one with Ctrl+V</p>
      <div class="bar">
        <${FileButton} label="Choose a photo" icon="photo" look="primary" onPhoto=${onPhoto} />
        <${FileButton} label="Take a photo" icon="camera" look="camera" camera onPhoto=${onPhoto} />
      </div>
    </div>
    ${onProduct && html`<${Examples} onProduct=${onProduct} />`}
    ${veil}
  </div>`;
}

function FileButton({label, icon, look, camera, onPhoto}) {
  const chosen = (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) onPhoto(file);
  };
  return html`<label class="button file ${look}">
    <${Icon} name=${icon} />${label}
    <input type="file" class="visually-hidden" accept="image/*" capture=${camera ? "environment" : null}
      onChange=${chosen} />
  </label>`;
}

function useDropped(onPhoto) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
    const listeners = {
      dragover: (event) => carriesFile(event) && (event.preventDefault(), setOver(true)),
      dragleave: (event) => event.relatedTarget || setOver(false),
      drop: (event) => {
        setOver(false);
        if (!carriesFile(event)) return;
        event.preventDefault();
        if (event.dataTransfer.files[0]) onPhoto(event.dataTransfer.files[0]);
      },
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => Object.entries(listeners).forEach(([name, listener]) => removeEventListener(name, listener));
  }, [onPhoto]);
  return over;
}

function usePasted(onPhoto) {
  useEffect(() => {
    const pasted = (event) => {
      const file = [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
      if (file) onPhoto(file);
    };
    addEventListener("paste", pasted);
    return () => removeEventListener("paste", pasted);
  }, [onPhoto]);
}

function Examples({onProduct}) {
  const [turn, setTurn] = useState(seed);
  const others = () => setTurn((seed += 1));
  const {value, error, again} = useAsked(
    (signal) => service.get(address("/v1/products", {sample: EXAMPLES, seed: turn}), {signal}),
    [turn],
  );
  return html`<section class="examples" aria-label="Examples">
    <div class="bar"><h2>Or begin with a product</h2>
      <button type="button" class="button quiet small end" onClick=${others}>
        <${Icon} name="again" />Other examples</button></div>
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!error &&
    html`<ul>
      ${(value?.results || Array(EXAMPLES).fill(null)).map((one) =>
        one
          ? html`<li key=${one.product_id}><${Example} product=${one} onProduct=${onProduct} /></li>`
          : html`<li><span class="example skeleton"></span></li>`,
      )}
    </ul>`}
  </section>`;
}

const Example = ({product, onProduct}) =>
  html`<button type="button" class="example" onClick=${() => onProduct(product)}
    aria-label=${`Search with ${product.category || "product"} ${product.product_id}`}>
    <${Picture} product=${product} size=${320} /></button>`;
