// The boxes on a photo: what the service found in it and what the reader draws. A box is chosen, moved and resized by
// mouse, by touch and by keyboard; positions are shares of the photo, 0 to 1.
import {html, useRef, useState} from "./vendor.js";

const LEAST = 0.04;
const STEP = 0.02;
const STILL_PX = 4;
const CORNERS = ["nw", "ne", "sw", "se"];
const ARROWS = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]};
const HELP = "Arrow keys move the box, Shift with arrow keys changes its size, Enter searches, Delete takes it away.";

const within = (value, least, most) => Math.min(Math.max(value, least), most);

/** A box moved by so much, without leaving the photo. */
export function moved([left, top, right, bottom], [dx, dy]) {
  const x = within(dx, -left, 1 - right);
  const y = within(dy, -top, 1 - bottom);
  return [left + x, top + y, right + x, bottom + y];
}

/** A box with a corner ("nw", "se", ...) moved by so much, without leaving the photo or turning over. */
export function resized([left, top, right, bottom], corner, [dx, dy]) {
  if (corner.includes("w")) left = within(left + dx, 0, right - LEAST);
  else right = within(right + dx, left + LEAST, 1);
  if (corner.includes("n")) top = within(top + dy, 0, bottom - LEAST);
  else bottom = within(bottom + dy, top + LEAST, 1);
  return [left, top, right, bottom];
}

/** The box between two points. */
export function spanned([x0, y0], [x1, y1]) {
  const [left, right] = [x0, x1].map((x) => within(x, 0, 1)).sort((a, b) => a - b);
  const [top, bottom] = [y0, y1].map((y) => within(y, 0, 1)).sort((a, b) => a - b);
  return [left, top, Math.max(right, left + LEAST), Math.max(bottom, top + LEAST)];
}

/** What a box is called. */
export const boxName = ({name, confidence, found}) =>
  found ? `${name || "Item"}${confidence ? `, ${Math.round(100 * confidence)}% sure` : ""}` : name || "Box you drew";

/**
 * Boxes over a photo.
 * @param {{boxes: Array, active: ?number, drawing: boolean, onChoose: function(number),
 *   onPlace: function(number, Array), onRemove: function(number), onDrawn: function()}} props
 */
export function Boxes({boxes, active, drawing, onChoose, onPlace, onRemove, onDrawn}) {
  const place = useRef();
  const [held, setHeld] = useState(null);
  const point = ({clientX, clientY}) => {
    const {left, top, width, height} = place.current.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  };
  const down = (event) => {
    const index = Number(event.target.closest("[data-index]")?.dataset.index ?? -1);
    const draws = drawing || (index < 0 && event.pointerType === "mouse");
    if (event.button || (index < 0 && !draws)) return;
    place.current.setPointerCapture(event.pointerId);
    const corner = event.target.dataset.corner;
    const start = {from: point(event), x: event.clientX, y: event.clientY};
    setHeld(draws ? {...start, index: boxes.length} : {...start, index, corner, first: boxes[index].box});
  };
  const move = (event) => {
    if (!held) return;
    const far = held.box || Math.hypot(event.clientX - held.x, event.clientY - held.y) > STILL_PX;
    if (far) setHeld({...held, box: dragged(held, point(event))});
  };
  const up = () => {
    if (!held) return;
    setHeld(null);
    if (held.box) onPlace(held.index, held.box);
    else if (held.first) onChoose(held.index);
    if (!held.first && held.box) onDrawn();
  };
  const shown = held?.box ? Object.assign([...boxes], {[held.index]: {...boxes[held.index], box: held.box}}) : boxes;
  const lit = held?.box ? held.index : active;
  return html`<div class="boxes ${drawing ? "drawing" : ""}" ref=${place} onPointerDown=${down} onPointerMove=${move}
    onPointerUp=${up} onPointerCancel=${() => setHeld(null)}>
    ${shown[lit] && html`<div class="shade" aria-hidden="true"><i style=${position(shown[lit].box)}></i></div>`}
    ${shown.map(
      (one, index) => html`<${Box} key=${index} index=${index} box=${one} active=${index === lit}
        onChoose=${onChoose} onPlace=${onPlace} onRemove=${onRemove} />`,
    )}
    <span id="box-help" class="visually-hidden">${HELP}</span>
  </div>`;
}

function dragged({from, first, corner}, to) {
  if (!first) return spanned(from, to);
  const by = [to[0] - from[0], to[1] - from[1]];
  return corner ? resized(first, corner, by) : moved(first, by);
}

const percent = (share) => `${100 * share}%`;
const position = ([left, top, right, bottom]) => ({
  left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top),
});

function Box({index, box: {box, ...about}, active, onChoose, onPlace, onRemove}) {
  const keys = (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) onPlace(index, event.shiftKey ? resized(box, "se", arrow) : moved(box, arrow));
    else if (event.key === "Delete" || event.key === "Backspace") onRemove(index);
    else if (event.key === "Enter" || event.key === " ") onChoose(index);
    else return;
    event.preventDefault();
  };
  // A pointer's click has been dealt with when it went up; what is left comes from assistive technology.
  const click = (event) => event.detail === 0 && onChoose(index);
  const area = (box[2] - box[0]) * (box[3] - box[1]);
  const shares = box.map((one) => Number(one.toFixed(4))).join(",");
  return html`<button type="button" class="box" data-index=${index} data-box=${shares}
    aria-pressed=${active} aria-label=${`${boxName(about)}: search for this`} aria-describedby="box-help"
    style=${{...position(box), zIndex: active ? 200 : Math.round(100 * (1 - area))}} onKeyDown=${keys} onClick=${click}>
    ${active && CORNERS.map((corner) => html`<span class="handle ${corner}" data-corner=${corner}></span>`)}
  </button>`;
}
