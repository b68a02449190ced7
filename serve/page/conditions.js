// A search's filter, as the API takes it, read and changed: {category: [...], must: [{field, in | eq | gte, lte}]}.
// Every function answers with a new filter, from which what says nothing is left out.
import {valueText} from "./words.js";

/** What is asked of a field: {in: [...]}, {eq}, {gte, lte}; {} if nothing. */
export function conditionOf(filter, field) {
  if (field === "category") return filter.category?.length ? {in: filter.category} : {};
  return (filter.must || []).find((one) => one.field === field) || {};
}

/** The filter with this asked of a field; nothing, if the condition says nothing. */
export function withCondition(filter, field, condition) {
  const says = Object.entries(condition).filter(([, value]) => value != null && value !== "" && value.length !== 0);
  const others = (filter.must || []).filter((one) => one.field !== field);
  if (field === "category") return tidy({...filter, category: condition.in});
  return tidy({...filter, must: says.length ? [...others, {...Object.fromEntries(says), field}] : others});
}

/** The filter with a value of a field switched on or off. */
export function withValue(filter, field, value) {
  const now = conditionOf(filter, field).in || [];
  return withCondition(filter, field, {in: now.includes(value) ? now.filter((one) => one !== value) : [...now, value]});
}

/** What is set, one entry for each that can be taken away: {field, text, without: filter}. */
export function settings(filter) {
  const fields = [...(filter.category?.length ? ["category"] : []), ...(filter.must || []).map((one) => one.field)];
  return fields.flatMap((field) => {
    const {in: values, eq, gte, lte} = conditionOf(filter, field);
    if (values)
      return values.map((value) => ({field, text: valueText(value), without: withValue(filter, field, value)}));
    const text = eq != null ? valueText(eq) : rangeText(gte, lte);
    return [{field, text, without: withCondition(filter, field, {})}];
  });
}

/** Whether it lets everything pass. */
export const isEmpty = (filter) => settings(filter).length === 0;

function rangeText(least, most) {
  if (least == null) return `up to ${most}`;
  return most == null ? `from ${least}` : `${least} to ${most}`;
}

function tidy({category, must, ...rest}) {
  return {...rest, ...(category?.length && {category}), ...(must?.length && {must})};
}
