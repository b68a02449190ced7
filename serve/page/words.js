// How a catalogue's names and values are written: on_sale as "on sale", true as "yes", a moment as its day.
const MOMENT = /^\d{4}-\d\d-\d\dT/;

/** A field's name as it is spoken: "on sale". */
export const spoken = (name) => name.replaceAll("_", " ");

/** A field's name as a title: "On sale". */
export const titled = (name) => spoken(name).replace(/^./, (first) => first.toUpperCase());

/** A value in words. */
export function valueText(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return value.toLocaleString("en");
  if (MOMENT.test(value)) return new Date(value).toLocaleDateString("en", {dateStyle: "medium"});
  return String(value);
}

/** A product's first attributes in a line: text speaks for itself, numbers and what is true say what they are. */
export function attributesText(attributes) {
  const said = Object.entries(attributes || {}).filter(([, value]) => value != null && value !== "" && value !== false);
  const words = said.map(([name, value]) => {
    if (value === true) return spoken(name);
    return typeof value === "number" ? `${spoken(name)} ${valueText(value)}` : valueText(value);
  });
  return words.slice(0, 3).join(" · ");
}
