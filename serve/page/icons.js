// The few signs that buttons carry, drawn in the colour of their text.
import {html} from "./vendor.js";

const PATHS = {
  photo: "M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v11a2.5 2.5 0 0 1-2.5 2.5h-11A2.5 2.5 0 0 1 4 17.5z" +
    "m0 10 4.5-4.5 7 7.5M13 14.5l2.5-2.5 4.5 4.5M14.5 8.5h.01",
  camera: "M4 9a2 2 0 0 1 2-2h2l1.5-2.5h5L16 7h2a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z" +
    "M15.2 13a3.2 3.2 0 1 1-6.4 0 3.2 3.2 0 0 1 6.4 0",
  like: "M7 11v9H4v-9zl4-8a2 2 0 0 1 2 2v4h5.4a2 2 0 0 1 2 2.3l-1.1 6.9a2 2 0 0 1-2 1.8H7",
  close: "M6 6l12 12M18 6 6 18",
  again: "M19 5v5h-5M18.5 10A7 7 0 1 0 19 14",
  box: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4",
  whole: "M4 4h16v16H4z",
};

PATHS.dislike = PATHS.like;

/** A sign; what it means has to be said by the button's text or label. */
export const Icon = ({name}) =>
  html`<svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.8"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
    <path d=${PATHS[name]} transform=${name === "dislike" ? "rotate(180 12 12)" : null} /></svg>`;
