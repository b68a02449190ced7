// What became of a write: that it was acknowledged, then how long it took until answers held it.
import {html, useEffect, useRef, useState} from "./vendor.js";
import {Loading, Partial} from "./states.js";
import {Grid, productLink} from "./grid.js";
import {untilGone, untilSearchable} from "./freshness.js";
import {countText, durationText, waitText} from "./wording.js";

/**
 * Follows a write until it is seen.
 * @param {{write: object, onSeen: function}} props `write` is {productId, sequence, acknowledgedS, picture, deleted}
 */
export function WriteOutcome({write, onSeen}) {
  const [seen, setSeen] = useState(null);
  const [error, setError] = useState(null);
  const place = useRef();
  useEffect(() => {
    const controller = new AbortController();
    const {signal} = controller;
    (write.deleted ? untilGone : untilSearchable)(write, signal)
      .then((found) => signal.aborted || (setSeen(found), onSeen()))
      .catch((failed) => signal.aborted || setError(failed));
    return () => controller.abort();
  }, [write]);
  useEffect(() => arrive(place.current), []);
  return html`<section ref=${place} class="panel stack arrival" aria-labelledby="outcome"
    data-sequence=${write.sequence}>
    <h2 id="outcome" tabindex="-1">${write.deleted ? "Deleted" : "Saved"}: <span class="id">${write.productId}</span>
    </h2>
    <ol class="steps">
      <${Step} done>
        Acknowledged as write <b>${countText(write.sequence)}</b> in ${durationText(write.acknowledgedS)}
      <//>
      ${!error && html`<${Step} done=${seen}><${Progress} write=${write} seen=${seen} /><//>`}
    </ol>
    ${error && html`<p class="note bad" role="alert">${error.detail || error.message}</p>`}
    ${seen && !write.deleted && html`<${Nearest} write=${write} answer=${seen.answer} />`}
  </section>`;
}

/** Bring it into sight, and the focus to it where what had the focus is gone. */
function arrive(section) {
  section.scrollIntoView({block: "nearest"});
  if (document.activeElement === document.body) section.querySelector("h2").focus({preventScroll: true});
}

const Step = ({done, children}) =>
  html`<li class=${done ? "done" : ""}><span class="step-sign" aria-hidden="true">${done ? "✓" : ""}</span>
  <span>${children}</span></li>`;

function Progress({write, seen}) {
  if (!seen) return html`<${Loading} what=${write.deleted ? "Asking until it is gone"
    : "Searching until it is found"} />`;
  const words = write.deleted ? "Gone from answers after" : "Searchable after";
  return html`<span role="status">${words} <b>${waitText(seen.afterS)}</b></span>`;
}

function Nearest({write, answer}) {
  return html`<div class="stack near">
    <${Partial} answer=${answer} />
    <div class="bar"><h3>Nearest to it</h3><a class="end" href=${productLink(write.productId)}>Open the product</a>
    </div>
    ${answer.results.length
      ? html`<${Grid} results=${answer.results.slice(0, 8)} label="Nearest products" />`
      : html`<p class="muted">The catalogue holds nothing else yet.</p>`}
  </div>`;
}
