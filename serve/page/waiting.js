// What a view shows while its first answer is on its way: that it waits, and the shape of what is to come.
import {html} from "./vendor.js";
import {Loading} from "./states.js";

/** Panels that are still to come; `lines` says how many lines each will have. */
export const Waiting = ({what, panels}) =>
  html`<${Loading} what=${what} />
    ${panels.map(
      (lines) => html`<div class="panel" aria-hidden="true">
        <div class="skeleton line short"></div>
        ${Array.from({length: lines}, () => html`<div class="skeleton line"></div>`)}
      </div>`,
    )}`;
