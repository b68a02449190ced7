// The map as it is handled: zoomed by wheel, pinch and keys, moved by drag and keys, gone through product by product.
import {html, useEffect, useRef} from "./vendor.js";
import {createPictures, draw} from "./map_drawing.js";
import {HOME, brought, moved, nearest, nextFrom, placed, zoomed} from "./plane.js";

const NEAR_PX = 18;
const STEP_PX = 80;
const ZOOM = 1.5;
const STILL_PX = 5;
const DIRECTIONS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/**
 * The canvas.
 * @param {{points: Array, looks: Map, selected: ?object, pictures: boolean, label: string, describedBy: string,
 *   onSelect: function(?object), onOpen: function(object), controls: {current: ?object}}} props `controls` is given
 *   {zoom(factor), home()} for buttons
 */
export function MapCanvas({points, looks, selected, pictures, label, describedBy, onSelect, onOpen, controls}) {
  const canvas = useRef();
  const held = useRef({view: HOME, size: {width: 0, height: 0}, frame: 0, pictures: null});
  const now = held.current;
  Object.assign(now, {points, looks, selected, withPictures: pictures, onSelect, onOpen});

  useEffect(() => {
    now.redraw = () => {
      cancelAnimationFrame(now.frame);
      now.frame = requestAnimationFrame(() => drawn(canvas.current, now));
    };
    now.show = (view) => ((now.view = view), now.redraw());
    const shown = createPictures(now.redraw);
    now.pictures = shown;
    const sized = new ResizeObserver(([{contentRect}]) => {
      now.size = {width: contentRect.width, height: contentRect.height};
      now.show(moved(now.view, 0, 0, now.size));
    });
    sized.observe(canvas.current);
    const unheard = listen(canvas.current, now);
    controls.current = {
      zoom: (factor) => now.show(zoomed(now.view, factor, centre(now), now.size)),
      home: () => now.show(HOME),
    };
    return () => (cancelAnimationFrame(now.frame), sized.disconnect(), unheard(), shown.close());
  }, []);
  useEffect(() => now.redraw(), [points, looks, selected, pictures]);
  return html`<canvas ref=${canvas} class="map-canvas" tabindex="0" role="application" aria-roledescription="map"
    aria-label=${label}
    aria-describedby=${describedBy}></canvas>`;
}

function drawn(canvas, now) {
  if (!canvas || !now.size.width) return;
  canvas.style.touchAction = now.view.scale > 1 ? "none" : "pan-y";
  now.pictureAt = draw(canvas, {...now, pictures: now.withPictures ? now.pictures : null});
}

/** Hear wheel, pointers and keys; the answer ends it. */
function listen(canvas, now) {
  const pointers = new Map();
  const place = (event) => [event.offsetX, event.offsetY];
  const at = (event) =>
    now.pictureAt?.(place(event)) ?? nearest(now.points, place(event), now.size, now.view, NEAR_PX);
  let travelled = 0;
  const handlers = {
    wheel(event) {
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      now.show(zoomed(now.view, Math.exp(-event.deltaY / 300), place(event), now.size));
    },
    pointerdown(event) {
      travelled = pointers.size ? Infinity : 0;
      pointers.set(event.pointerId, place(event));
      canvas.setPointerCapture(event.pointerId);
    },
    pointermove(event) {
      const before = pointers.get(event.pointerId);
      if (!before) return event.pointerType === "mouse" && hover(now, at(event));
      const after = place(event);
      travelled += Math.hypot(after[0] - before[0], after[1] - before[1]);
      if (pointers.size === 2) pinch(now, pointers, event.pointerId, after);
      else if (travelled > STILL_PX) now.show(moved(now.view, after[0] - before[0], after[1] - before[1], now.size));
      pointers.set(event.pointerId, after);
    },
    pointerup(event) {
      const pressed = pointers.delete(event.pointerId);
      const point = pressed && travelled <= STILL_PX ? at(event) : null;
      if (!point) return;
      if (event.pointerType === "mouse" || point === now.selected) now.onOpen(point);
      else now.onSelect(point);
    },
    pointercancel: (event) => pointers.delete(event.pointerId),
    keydown: (event) => key(event, now),
  };
  for (const [name, handler] of Object.entries(handlers)) canvas.addEventListener(name, handler, {passive: false});
  return () => Object.entries(handlers).forEach(([name, handler]) => canvas.removeEventListener(name, handler));
}

function hover(now, point) {
  if (point && point !== now.selected) now.onSelect(point);
}

function pinch(now, pointers, id, after) {
  const [other] = [...pointers].filter(([one]) => one !== id).map(([, place]) => place);
  const before = pointers.get(id);
  const length = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
  const middle = [(after[0] + other[0]) / 2, (after[1] + other[1]) / 2];
  now.show(zoomed(now.view, length(after) / length(before), middle, now.size));
}

function key(event, now) {
  const middle = centre(now);
  const direction = DIRECTIONS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const [dx, dy] = direction ?? [0, 0];
  if (direction && event.shiftKey) now.show(moved(now.view, -STEP_PX * dx, -STEP_PX * dy, now.size));
  else if (direction) step(now, direction);
  else if (event.key === "+" || event.key === "=") now.show(zoomed(now.view, ZOOM, middle, now.size));
  else if (event.key === "-") now.show(zoomed(now.view, 1 / ZOOM, middle, now.size));
  else if (event.key === "0") now.show(HOME);
  else if (event.key === "Enter" && now.selected) now.onOpen(now.selected);
  else if (event.key === "Escape") now.onSelect(null);
  else return;
  event.preventDefault();
}

/** Where buttons and keys zoom: at the selected product, else in the middle. */
function centre({points, selected, size, view}) {
  return points.includes(selected) ? placed(selected, size, view) : [size.width / 2, size.height / 2];
}

/** Go to the next product in a direction; from none, to the one in the middle. */
function step(now, direction) {
  const {points, size, view, selected} = now;
  const known = points.includes(selected);
  const point = known ? nextFrom(selected, points, direction, size, view) : nearest(points, centre(now), size, view);
  if (!point) return;
  now.show(brought(view, point, size));
  now.onSelect(point);
}
