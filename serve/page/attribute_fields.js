// The fields for a product's attributes: one for each that the catalogue has, of its kind. An empty one is not sent.
import {html} from "./vendor.js";

/** The text that a field holds for an attribute's value. */
export function fieldText({kind, ...attribute}, value) {
  if (value == null) return "";
  if (kind === "boolean") return value ? "yes" : "no";
  return kind === "time" && !isDay(attribute) ? String(value).slice(0, 16) : String(value);
}

/** The value that a field's text stands for. */
function fieldValue(attribute, text) {
  if (attribute.kind === "number") return Number(text);
  if (attribute.kind === "boolean") return text === "yes";
  return attribute.kind === "time" && hasZone(attribute) ? `${text}Z` : text;
}

/**
 * A product's attributes from the fields: those that are filled, and those that there is no field for as they were.
 * @param {Array} attributes as `GET /v1/catalog` lists them
 * @param {Object<string, string>} texts the fields' texts
 * @param {object} before the product's attributes so far
 */
export function filled(attributes, texts, before = {}) {
  const fields = new Map(attributes.map((attribute) => [attribute.name, attribute]));
  const kept = Object.entries(before).filter(([name, value]) => !fields.has(name) && value != null);
  const given = Object.entries(texts).filter(([name, text]) => fields.has(name) && text.trim() !== "");
  const values = given.map(([name, text]) => [name, fieldValue(fields.get(name), text.trim())]);
  return Object.fromEntries([...kept, ...values]);
}

const isDay = ({min}) => /^\d{4}-\d\d-\d\d$/.test(min || "");
const hasZone = ({min}) => /(Z|[+-]\d\d:?\d\d)$/.test(min || "") && !isDay({min});

/** A field for an attribute. */
export function AttributeField({attribute, text, onText}) {
  const {name, kind, values = []} = attribute;
  const label = name.replaceAll("_", " ");
  const given = {name: `attribute-${name}`, value: text, onInput: (event) => onText(event.target.value)};
  if (kind === "boolean")
    return html`<label class="field"><span>${label}</span>
      <select ...${given}>
        <option value="">not given</option><option value="yes">yes</option><option value="no">no</option>
      </select>
    </label>`;
  if (kind === "number")
    return html`<label class="field"><span>${label}</span>
      <input type="number" step="any" inputmode="decimal" ...${given} />
    </label>`;
  if (kind === "time")
    return html`<label class="field"><span>${label}${hasZone(attribute) ? " (UTC)" : ""}</span>
      <input type=${isDay(attribute) ? "date" : "datetime-local"} ...${given} />
    </label>`;
  return html`<label class="field"><span>${label}</span>
    <input type="text" list=${`known-${name}`} autocomplete="off" ...${given} />
    <datalist id=${`known-${name}`}>${values.map(({value}) => html`<option value=${value}></option>`)}</datalist>
  </label>`;
}
