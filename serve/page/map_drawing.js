// The map, drawn on a canvas: a sign for each point or, where there is room, its picture.
import {address, service} from "./service.js";
import {placed} from "./plane.js";
import {trace} from "./looks.js";

const PICTURE = 56;
const AT_ONCE = 6;
const MOST_KEPT = 600;

/**
 * Draw all that is to be seen.
 * @param {HTMLCanvasElement} canvas
 * @param {{points: Array, looks: Map, selected: ?object, view: object, size: object, pictures: ?object}} scene
 *   `pictures` is what `createPictures` answers; null draws signs only
 * @returns {function([number, number]): ?object} the point whose picture lies at a place of the screen
 */
export function draw(canvas, {points, looks, selected, view, size, pictures}) {
  const path = canvas.getContext("2d");
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(size.width * ratio);
  canvas.height = Math.round(size.height * ratio);
  path.scale(ratio, ratio);
  const seen = inSight(points, size, view);
  const ink = getComputedStyle(canvas).color;
  const r = 3.4 * Math.min(2.4, view.scale ** 0.4);
  const shown = pictures ? withPictures(seen, selected, pictures) : new Map();
  path.globalAlpha = 0.85;
  for (const one of seen) if (!shown.has(one)) sign(path, one, looks, r);
  path.globalAlpha = 1;
  for (const [one, bitmap] of shown) picture(path, one, looks, bitmap);
  const chosen = seen.find(({point}) => point === selected);
  if (chosen) mark(path, chosen, looks, ink, shown.has(chosen) ? PICTURE / 2 : r);
  const near = (one, other) => Math.abs(one - other) < PICTURE / 2;
  return ([x, y]) => [...shown.keys()].find((one) => near(one.x, x) && near(one.y, y))?.point ?? null;
}

function inSight(points, {width, height}, view) {
  const placedPoints = points.map((point) => {
    const [x, y] = placed(point, {width, height}, view);
    return {point, x, y};
  });
  return placedPoints.filter(({x, y}) => x > -PICTURE && y > -PICTURE && x < width + PICTURE && y < height + PICTURE);
}

function sign(path, {point, x, y}, looks, r) {
  const {colour, shape} = looks.get(point.category);
  path.fillStyle = colour;
  trace(path, shape, x, y, r);
  path.fill();
}

/** Those that have room for a picture and whose picture has come, each moved to its room; the selected one is first. */
function withPictures(seen, selected, pictures) {
  const taken = new Set();
  const chosen = new Map();
  const inOrder = [...seen.filter(({point}) => point === selected), ...seen];
  for (const one of inOrder) {
    const [column, row] = [Math.floor(one.x / PICTURE), Math.floor(one.y / PICTURE)];
    const cell = `${column},${row}`;
    if (taken.has(cell)) continue;
    taken.add(cell);
    const bitmap = pictures.of(one.point);
    if (!bitmap) continue;
    one.x = (column + 0.5) * PICTURE;
    one.y = (row + 0.5) * PICTURE;
    chosen.set(one, bitmap);
  }
  return chosen;
}

function picture(path, one, looks, bitmap) {
  const side = PICTURE - 6;
  const shrink = side / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * shrink, bitmap.height * shrink];
  path.drawImage(bitmap, one.x - width / 2, one.y - height / 2, width, height);
  path.strokeStyle = looks.get(one.point.category).colour;
  path.lineWidth = 2;
  path.strokeRect(one.x - width / 2, one.y - height / 2, width, height);
}

function mark(path, {point, x, y}, looks, ink, r) {
  path.strokeStyle = ink;
  path.lineWidth = 2.5;
  path.beginPath();
  path.arc(x, y, r + 5, 0, 2 * Math.PI);
  path.stroke();
  if (r < PICTURE / 2) sign(path, {point, x, y}, looks, r + 1.5);
}

/**
 * The points' pictures, fetched as they are needed and kept; `onCome` is called when one has come.
 * @returns {{of: function(object): ?ImageBitmap, close: function(): void}}
 */
export function createPictures(onCome) {
  const kept = new Map();
  const waiting = [];
  const controller = new AbortController();
  let busy = 0;
  const fetched = async (point) => {
    const blob = await service.blob(address(point.image_url, {size: 160}), {signal: controller.signal});
    kept.set(point.product_id, await createImageBitmap(blob));
    onCome();
  };
  const next = () => {
    if (busy >= AT_ONCE || !waiting.length) return;
    busy += 1;
    fetched(waiting.pop())
      .catch(() => {}) // it stays a sign
      .finally(() => ((busy -= 1), next()));
    next();
  };
  const of = (point) => {
    if (!kept.has(point.product_id) && kept.size < MOST_KEPT) {
      kept.set(point.product_id, null);
      waiting.push(point);
      next();
    }
    return kept.get(point.product_id) ?? null;
  };
  return {of, close: () => (controller.abort(), kept.forEach((bitmap) => bitmap?.close()), kept.clear())};
}
