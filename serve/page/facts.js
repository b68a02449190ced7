// A row of figures with their names, as it stands at the head of a view or a section.
import {html} from "./vendor.js";

/**
 * Names and values.
 * @param {{label: string, facts: Array<?[string, string, string?]>}} props each a name, a value, and how it is shown:
 *   "id", "good", "warn" or "bad"; what is null or false is left out
 */
export const Facts = ({label, facts}) =>
  html`<dl class="facts-row" aria-label=${label}>
    ${facts.filter(Boolean).map(
      ([name, value, shown = ""]) => html`<div key=${name}>
        <dt>${name}</dt><dd class=${shown} title=${value}>${value}</dd>
      </div>`,
    )}
  </dl>`;
