// How a category is drawn on the map: a colour and a shape, so that colour is not the only sign.
import {html} from "./vendor.js";

const FIRST_HUE = 25;
const SHAPES = ["circle", "square", "triangle", "diamond"];

/** A look for each category, in their order: neighbours in hue differ in shape, and a shape's hues lie far apart. */
export function looksOf(categories, isDark) {
  const tone = isDark ? "0.77 0.14" : "0.56 0.17";
  const look = (at) => ({
    colour: `oklch(${tone} ${(FIRST_HUE + (360 * at) / categories.length) % 360})`,
    shape: SHAPES[at % SHAPES.length],
  });
  return new Map(categories.map((category, at) => [category, look(at)]));
}

/** A shape's outline about a place, as an open path of a canvas. */
export function trace(path, shape, x, y, r) {
  path.beginPath();
  if (shape === "circle") path.arc(x, y, r, 0, 2 * Math.PI);
  else for (const [dx, dy] of CORNERS[shape]) path.lineTo(x + r * dx, y + r * dy);
  path.closePath();
}

const CORNERS = {
  square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  triangle: [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]],
  diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
};

/** A category's sign for the legend. */
export function Swatch({look: {colour, shape}}) {
  const shared = {fill: "currentColor"};
  return html`<svg class="swatch" viewBox="-1.5 -1.5 3 3" aria-hidden="true" focusable="false" style=${{color: colour}}>
    ${shape === "circle"
      ? html`<circle r="1.1" ...${shared} />`
      : html`<polygon points=${CORNERS[shape].map((corner) => corner.join(",")).join(" ")} ...${shared} />`}
  </svg>`;
}
