// The catalogue's shape: its products laid out on a plane so that what the encoder finds alike lies together. It is
// asked for when it comes near the screen, since the service works on it for seconds.
import {html, useEffect, useMemo, useRef, useState} from "./vendor.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {Picture} from "./picture.js";
import {Empty, Loading, Problem} from "./states.js";
import {productLink} from "./grid.js";
import {MapCanvas} from "./map_canvas.js";
import {Swatch, looksOf} from "./looks.js";
import {useMedia} from "./media.js";
import {mixing} from "./plane.js";
import {countText, shareText} from "./wording.js";

const SAMPLE = 1000;
const TRIES = 4;

/** The section. */
export function MapSection({release}) {
  const [wanted, setWanted] = useState(false);
  const [heading, place] = [useRef(), useRef()];
  const want = () => {
    if (place.current.contains(document.activeElement)) heading.current.focus({preventScroll: true}); // the button goes
    setWanted(true);
  };
  useEffect(() => {
    const watcher = new IntersectionObserver(([seen]) => seen.isIntersecting && want(), {rootMargin: "150px"});
    watcher.observe(place.current);
    return () => watcher.disconnect();
  }, []);
  return html`<section class="panel stack map" aria-labelledby="map">
    <h2 id="map" ref=${heading} tabindex="-1">Map of the catalogue</h2>
    <div ref=${place} class="stack">
      ${wanted
        ? html`<${Asked} release=${release} />`
        : html`<p><button type="button" class="button" onClick=${want}>Draw the map</button></p>`}
    </div>
  </section>`;
}

function Asked({release}) {
  const {value, error, again} = useAsked(patiently, [release]);
  if (error && !value) return html`<${Problem} error=${error} again=${again} />`;
  if (!value)
    return html`<div class="map-canvas skeleton" aria-hidden="true"></div>
      <${Loading} what="Laying out the catalogue: the first time takes several seconds" />`;
  if (!value.sampled) return html`<${Empty} title="Nothing to lay out"><p>The catalogue holds no images.</p><//>`;
  return html`<${Map2D} answer=${value} />`;
}

/** Ask for the map; one that is not done in time is there when it is asked for again. */
async function patiently(signal, left = TRIES) {
  try {
    return await service.get("/v1/map", {query: {sample: SAMPLE}, signal});
  } catch (error) {
    if (error.status !== 504 || left <= 1) throw error;
    return patiently(signal, left - 1);
  }
}

function Map2D({answer}) {
  const points = useMemo(() => pointsOf(answer), [answer]);
  const categories = useMemo(() => mixing(points), [points]);
  const isDark = useMedia("(prefers-color-scheme: dark)");
  const looks = useMemo(() => looksOf(categories.map(({category}) => category), isDark), [categories, isDark]);
  const [hidden, setHidden] = useState(() => new Set());
  const [selected, setSelected] = useState(null);
  const [pictures, setPictures] = useState(false);
  const shown = useMemo(() => points.filter(({category}) => !hidden.has(category)), [points, hidden]);
  const controls = useRef();
  const open = (point) => (location.hash = productLink(point.product_id));
  return html`
    <p class="muted">${countText(answer.sampled)} of ${countText(answer.images)} images, laid out by
      ${" "}${answer.method} from their vectors: neighbours look alike to the encoder of
      ${" "}<span class="id">${answer.release}</span>.</p>
    <${Legend} categories=${categories} looks=${looks} hidden=${hidden} onHidden=${setHidden} />
    <div class="map-columns">
      <div class="map-place">
        <${MapCanvas} points=${shown} looks=${looks} selected=${selected} pictures=${pictures} controls=${controls}
          describedBy="map-help"
          label="Map of the catalogue" onSelect=${setSelected} onOpen=${open} />
        <${Controls} controls=${controls} pictures=${pictures} onPictures=${setPictures} />
      </div>
      <${Card} point=${selected} looks=${looks} />
    </div>
    <p id="map-help" class="muted small">
      <span class="by-touch">Tap a product to see it, and once more to open it; two fingers zoom the map.</span>
      <span class="by-pointer">Point at a product to see it, click to open it, drag to move; the wheel zooms once the
        map has the focus.</span>
      ${" "}Arrow keys go from product to product, Enter opens one; + and − zoom, 0 shows all, Shift with an arrow
      moves.</p>
    <${AsTable} categories=${categories} />`;
}

function pointsOf({x, y, product_id, category, image_url}) {
  return x.map((_, at) => ({
    x: x[at], y: y[at], product_id: product_id[at], category: category[at] || "no category", image_url: image_url[at],
  }));
}

function Legend({categories, looks, hidden, onHidden}) {
  const toggle = (category) => {
    const next = new Set(hidden);
    if (!next.delete(category)) next.add(category);
    onHidden(next);
  };
  const all = () => onHidden(new Set(hidden.size ? [] : categories.map(({category}) => category)));
  return html`<div class="chips legend" role="group" aria-label="Categories on the map">
    ${categories.map(
      ({category, count}) => html`<button type="button" key=${category} class="chip key"
        aria-pressed=${!hidden.has(category)} onClick=${() => toggle(category)}>
        <${Swatch} look=${looks.get(category)} />${category} ${" "}<span class="count">${countText(count)}</span>
      </button>`,
    )}
    <button type="button" class="button quiet small" onClick=${all}>${hidden.size ? "Show all" : "Hide all"}</button>
  </div>`;
}

function Controls({controls, pictures, onPictures}) {
  return html`<div class="map-controls" role="group" aria-label="Map controls">
    <button type="button" class="round" aria-label="Zoom in" title="Zoom in"
      onClick=${() => controls.current.zoom(1.6)}>+</button>
    <button type="button" class="round" aria-label="Zoom out" title="Zoom out"
      onClick=${() => controls.current.zoom(1 / 1.6)}>−</button>
    <button type="button" class="button small" onClick=${() => controls.current.home()}>Show all of it</button>
    <button type="button" class="button small" aria-pressed=${pictures}
      onClick=${() => onPictures(!pictures)}>Pictures</button>
  </div>`;
}

/** The product that the pointer or the keys have come to. */
function Card({point, looks}) {
  return html`<div class="map-card" role="status" aria-label="Product on the map">
    ${point
      ? html`<a href=${productLink(point.product_id)} class="map-picture">
            <${Picture} key=${point.product_id} product=${point} size=${320}
              alt=${`Open product ${point.product_id}`} /></a>
          <p><strong><${Swatch} look=${looks.get(point.category)} /> ${point.category}</strong></p>
          <p class="id muted small">${point.product_id}</p>`
      : html`<p class="muted">The product that you come to is shown here.</p>`}
  </div>`;
}

function AsTable({categories}) {
  return html`<details>
    <summary>The map as a table</summary>
    <table class="table stacked">
      <caption class="visually-hidden">Categories on the map, and how well each keeps together</caption>
      <thead><tr><th scope="col">Category</th><th scope="col" class="number">Images</th>
        <th scope="col" class="number">Neighbours of the same</th><th scope="col">Mixed most with</th></tr></thead>
      <tbody>${categories.map(
        ({category, count, same, with: other}) => html`<tr>
          <th scope="row">${category}</th><td class="number" data-label="Images">${countText(count)}</td>
          <td class="number" data-label="Neighbours of the same">${shareText(same)}</td>
          <td data-label="Mixed most with">${other || "none"}</td>
        </tr>`,
      )}</tbody>
    </table>
    <p class="muted small">Neighbours: the five that lie nearest on the map.</p>
  </details>`;
}
