// A small chart of the last minutes, drawn beside the figure that it explains.
import {html} from "./vendor.js";

const [WIDTH, HEIGHT, EDGE] = [120, 32, 2];

/**
 * A line of values over time.
 * @param {{points: Array<{at: number, value: ?number}>, from: number, to: number}} props in rising order; a value that
 *   is null leaves a gap
 */
export function Sparkline({points, from, to}) {
  const top = Math.max(0, ...points.map(({value}) => value ?? 0)) || 1;
  const place = ({at, value}) =>
    `${(WIDTH * (at - from)) / (to - from)} ${HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * value) / top}`;
  return html`<svg class="sparkline" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true"
    focusable="false">
    <line x1="0" x2=${WIDTH} y1=${HEIGHT - 1} y2=${HEIGHT - 1} />
    ${unbroken(points).map((run) => html`<path d=${`M${run.map(place).join("L")}`} />`)}
  </svg>`;
}

/** Runs of points that all have a value. */
function unbroken(points) {
  const runs = [[]];
  for (const point of points) {
    if (point.value == null) runs.push([]);
    else runs.at(-1).push(point);
  }
  return runs.filter((run) => run.length > 1);
}
