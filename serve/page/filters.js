// The filters that a catalogue offers: its categories, and for each attribute what fits its kind. Every change gives
// the whole filter, as the API takes it.
import {html, useState} from "./vendor.js";
import {conditionOf, settings, withCondition, withValue} from "./conditions.js";
import {Icon} from "./icons.js";
import {spoken, titled, valueText} from "./words.js";

const FEW = 8;
const TYPES = {number: "number", time: "date"};

/**
 * All that a catalogue can be narrowed by.
 * @param {{catalog: object, value: object, onChange: function(object): void}} props `value` is a filter of the API
 */
export function Filters({catalog, value, onChange}) {
  const toggle = (field) => (one) => onChange(withValue(value, field, one));
  const set = (field) => (condition) => onChange(withCondition(value, field, condition));
  return html`<div class="filters">
    ${catalog.categories.length > 0 &&
    html`<${Choice} name="category" values=${catalog.categories} chosen=${chosen(value, "category")}
      toggle=${toggle("category")} />`}
    ${catalog.attributes.map(({name, ...attribute}) => {
      const shared = {key: name, name, attribute, condition: conditionOf(value, name), set: set(name)};
      if (attribute.kind === "boolean") return html`<${YesNo} ...${shared} />`;
      if (TYPES[attribute.kind]) return html`<${Range} ...${shared} />`;
      return html`<${Many} ...${shared} chosen=${chosen(value, name)} toggle=${toggle(name)} />`;
    })}
  </div>`;
}

/** What is set, each with a button that takes it away. */
export function Settings({value, onChange}) {
  const all = settings(value);
  if (!all.length) return null;
  return html`<div class="chips" role="group" aria-label="Filters that are set">
    ${all.map(
      ({field, text, without}) => html`<button type="button" class="chip" onClick=${() => onChange(without)}
        aria-label=${`Remove filter ${spoken(field)}: ${text}`}>
        <span class="muted">${spoken(field)}</span>${text}<${Icon} name="close" /></button>`,
    )}
    ${all.length > 1 &&
    html`<button type="button" class="button quiet small" onClick=${() => onChange({})}>Remove all filters</button>`}
  </div>`;
}

const chosen = (filter, field) => conditionOf(filter, field).in || [];

function Choice({name, values, chosen, toggle}) {
  const [all, setAll] = useState(false);
  const shown = all ? values : values.filter(({value}, index) => index < FEW || chosen.includes(value));
  return html`<fieldset>
    <legend>${titled(name)}</legend>
    <div class="chips">
      ${shown.map(
        ({value, count}) => html`<button type="button" class="chip" aria-pressed=${chosen.includes(value)}
          onClick=${() => toggle(value)}>${valueText(value)} <${Count} count=${count} /></button>`,
      )}
      ${(all || shown.length < values.length) &&
      html`<button type="button" class="button quiet small" aria-expanded=${all} onClick=${() => setAll(!all)}>
        ${all ? "Fewer" : `All ${values.length}`}<span class="visually-hidden"> ${spoken(name)}</span></button>`}
    </div>
  </fieldset>`;
}

function Many({name, attribute, chosen, toggle}) {
  const [text, setText] = useState("");
  const [open] = useState(chosen.length > 0);
  const found = attribute.values.filter(({value}) => String(value).toLowerCase().includes(text.toLowerCase()));
  return html`<details class="many" open=${open}>
    <summary>${titled(name)}
      <span class="count">${chosen.length ? `${chosen.length} chosen` : attribute.distinct}</span></summary>
    ${attribute.values.length > FEW &&
    html`<label class="field"><span class="visually-hidden">Find a value of ${spoken(name)}</span>
      <input type="search" placeholder="Find" value=${text} onInput=${({target}) => setText(target.value)} /></label>`}
    <div class="values" role="group" aria-label=${spoken(name)} tabindex="0">
      ${found.map(
        ({value, count}) => html`<label key=${value}>
          <input type="checkbox" checked=${chosen.includes(value)} onChange=${() => toggle(value)} />
          <span>${valueText(value)}</span><${Count} count=${count} /></label>`,
      )}
      ${!found.length && html`<p class="muted">No such value</p>`}
    </div>
    ${attribute.distinct > attribute.values.length &&
    html`<p class="muted">The ${attribute.values.length} most frequent of ${attribute.distinct}.</p>`}
  </details>`;
}

function YesNo({name, attribute, condition, set}) {
  const values = attribute.values.map(({value, count}) => ({value, count}));
  const now = condition.eq == null ? [] : [condition.eq];
  return html`<${Choice} name=${name} values=${values} chosen=${now}
    toggle=${(value) => set(value === condition.eq ? {} : {eq: value})} />`;
}

function Range({name, attribute: {kind, min, max}, condition, set}) {
  const type = TYPES[kind];
  const [least, most] = [min, max].map((one) => (type === "date" ? String(one ?? "").slice(0, 10) : one));
  const shared = {name, type, min: least, max: most};
  const give = (end) => (value) => set({...condition, [end]: value});
  return html`<fieldset class="range">
    <legend>${titled(name)}</legend>
    <${End} ...${shared} word="from" placeholder=${least} value=${condition.gte} give=${give("gte")} />
    <${End} ...${shared} word="to" placeholder=${most} value=${condition.lte} give=${give("lte")} />
  </fieldset>`;
}

/** One end of a range; what is being typed stays while an answer comes in. */
function End({name, word, value = "", give, ...input}) {
  const [typed, setTyped] = useState(null);
  const done = ({target}) => {
    setTyped(null);
    give(input.type === "date" || target.value === "" ? target.value : target.valueAsNumber);
  };
  return html`<label class="field"><span>${titled(word)}</span>
    <input ...${input} step="any" aria-label=${`${spoken(name)} ${word}`} value=${typed ?? value}
      onInput=${({target}) => setTyped(target.value)} onChange=${done} />
  </label>`;
}

const Count = ({count}) => html`<span class="count">${count.toLocaleString("en")}</span>`;
