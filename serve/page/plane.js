// The map's geometry: where points lie on the screen, how it is zoomed and moved, and who lies beside whom. Plain
// functions. A point is {x, y} from 0 to 1, a size {width, height} in pixels, and a view {scale, x, y}: all is drawn
// `scale` times as large, moved by x and y pixels.

export const HOME = {scale: 1, x: 0, y: 0};
const CLOSEST = 32;
const EDGE = 24;

/** Where a point lies on the screen, [x, y]. */
export function placed(point, {width, height}, view) {
  return [
    view.x + view.scale * (EDGE + point.x * (width - 2 * EDGE)),
    view.y + view.scale * (EDGE + point.y * (height - 2 * EDGE)),
  ];
}

/** The view, zoomed by a factor about a place of the screen, which stays where it is. */
export function zoomed(view, factor, [x, y], size) {
  const scale = Math.min(CLOSEST, Math.max(1, view.scale * factor));
  const grown = scale / view.scale;
  return inside({scale, x: x - (x - view.x) * grown, y: y - (y - view.y) * grown}, size);
}

/** The view, moved by pixels. */
export const moved = (view, dx, dy, size) => inside({...view, x: view.x + dx, y: view.y + dy}, size);

/** The view, moved so that a point is in the middle, unless it is well inside the screen. */
export function brought(view, point, size) {
  const [x, y] = placed(point, size, view);
  const seen = x > EDGE / 2 && y > EDGE / 2 && x < size.width - EDGE / 2 && y < size.height - EDGE / 2;
  return seen ? view : moved(view, size.width / 2 - x, size.height / 2 - y, size);
}

/** A view that shows nothing but the map. */
function inside({scale, x, y}, {width, height}) {
  const between = (value, least) => Math.min(0, Math.max(least, value));
  return {scale, x: between(x, width * (1 - scale)), y: between(y, height * (1 - scale))};
}

/** The point nearest to a place of the screen, at most `within` pixels away; null if none is. */
export function nearest(points, place, size, view, within = Infinity) {
  return best(points, (point) => {
    const [x, y] = placed(point, size, view);
    const distance = Math.hypot(x - place[0], y - place[1]);
    return distance <= within ? distance : null;
  });
}

/**
 * The next point from one in a direction: near, and rather ahead than aside.
 * @param {[number, number]} direction of length 1, on the screen
 */
export function nextFrom(from, points, direction, size, view) {
  const [x0, y0] = placed(from, size, view);
  return best(points, (point) => {
    if (point === from) return null;
    const [x, y] = placed(point, size, view);
    const ahead = (x - x0) * direction[0] + (y - y0) * direction[1];
    const aside = Math.abs((x - x0) * direction[1] - (y - y0) * direction[0]);
    return ahead > 0 && aside <= 1.5 * ahead ? ahead + 2 * aside : null;
  });
}

function best(points, cost) {
  let [found, least] = [null, Infinity];
  for (const point of points) {
    const its = cost(point);
    if (its != null && its < least) [found, least] = [point, its];
  }
  return found;
}

/**
 * How well each category keeps together.
 * @param {Array<{x, y, category}>} points
 * @param {number} k neighbours that are looked at
 * @returns {Array<{category, count, same: ?number, with: ?string}>} most frequent first: `same` is the share of its
 *   points' neighbours that are of the category too, `with` the other category that is most often among them
 */
export function mixing(points, k = 5) {
  const tallies = new Map();
  for (const point of points) {
    const tally = tallies.get(point.category) ?? {count: 0, neighbours: new Map()};
    tallies.set(point.category, tally);
    tally.count += 1;
    for (const {category} of neighbours(point, points, k))
      tally.neighbours.set(category, (tally.neighbours.get(category) ?? 0) + 1);
  }
  return [...tallies].map(([category, tally]) => summed(category, tally)).sort((one, other) => other.count - one.count);
}

function summed(category, {count, neighbours}) {
  const all = [...neighbours.values()].reduce((sum, many) => sum + many, 0);
  const others = [...neighbours].filter(([other]) => other !== category).sort((one, other) => other[1] - one[1]);
  return {category, count, same: all ? (neighbours.get(category) ?? 0) / all : null, with: others[0]?.[0] ?? null};
}

/** A point's k nearest others, by insertion into a short list. */
function neighbours(point, points, k) {
  const found = [];
  for (const other of points) {
    if (other === point) continue;
    const distance = (other.x - point.x) ** 2 + (other.y - point.y) ** 2;
    if (found.length === k && distance >= found[k - 1].distance) continue;
    const at = found.findIndex((one) => one.distance > distance);
    found.splice(at < 0 ? found.length : at, 0, {distance, category: other.category});
    if (found.length > k) found.pop();
  }
  return found;
}
