// The states that every view shares: loading, empty, a problem in the service's own words, an answer without a part.
import {html} from "./vendor.js";
import {KeyForm} from "./key.js";

const UNREACHED = "The service can't be reached. This goes on by itself when it is back.";

/** Says what is on its way. */
export const Loading = ({what = "Loading"}) =>
  html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${what}</p>`;

/** Cards that are still to come. */
export const Skeletons = ({count = 12}) =>
  html`<ul class="grid" aria-hidden="true">
    ${Array.from(
      {length: count},
      () => html`<li class="card"><div class="card-picture skeleton"></div><div class="skeleton line"></div>
        <div class="skeleton line short"></div></li>`,
    )}
  </ul>`;

/** Nothing is here, and what can be done about it. */
export const Empty = ({title, children}) => html`<div class="empty"><h2>${title}</h2>${children}</div>`;

/** What went wrong; `again` is called by "Try again". A request that wants a key asks for it. */
export function Problem({error, again}) {
  if (error.needsKey) return html`<${KeyForm} reason=${error.detail || error.title} />`;
  const title = error.offline ? "No connection" : error.title || "Something went wrong";
  return html`<div class="note bad" role="alert">
    <strong>${title}</strong>
    <p>${error.offline ? UNREACHED : error.detail || error.message}</p>
    ${error.requestId && html`<p class="muted">Request ${error.requestId}</p>`}
    ${again && html`<button type="button" class="button small" onClick=${() => again()}>Try again</button>`}
  </div>`;
}

/** Says that an answer is without a part of the catalogue. */
export function Partial({answer}) {
  if (!answer?.partial) return null;
  const {ok, total} = answer.shards;
  const missing = total - ok;
  return html`<p class="note warn" role="status">
    <strong>Part of the catalogue is missing.</strong>${" "}
    ${missing === 1 ? "One" : missing} of ${total} shards did not answer, so this is without its products.
  </p>`;
}

/** A view's heading, with what belongs beside it. */
export const Headline = ({title, children}) =>
  html`<div class="bar headline"><h1 tabindex="-1">${title}</h1>${children}</div>`;
