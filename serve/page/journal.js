// The journal of writes: how far it goes, how far the service is with it, and how soon answers hold a write.
import {html} from "./vendor.js";
import {Facts} from "./facts.js";
import {freshness} from "./pulse.js";
import {countOf, countText, durationText} from "./wording.js";

/** The section; `journal` is null where products can't be written. */
export function Journal({journal, readings}) {
  return html`<section class="panel stack" aria-labelledby="journal">
    <h2 id="journal">Journal</h2>
    ${journal
      ? html`<${Standing} journal=${journal} readings=${readings} />`
      : html`<p class="muted">The service runs without a journal: its catalogue is read-only and changes with a
          release.</p>`}
  </section>`;
}

function Standing({journal, readings}) {
  const reading = readings.value?.readings.at(-1);
  const fresh = reading && freshness(reading.series);
  const {lag} = journal;
  return html`<${Facts} label="The journal in figures" facts=${[
      ["Last entry", countText(journal.head)],
      ["Applied", countText(journal.sequence)],
      ["Not applied yet", lag ? countText(lag) : "none", lag ? "warn" : "good"],
      ["Not in the index", countText(journal.depth)],
      ["Fresh after, median", durationText(fresh?.p50)],
      ["Fresh after, 95th percentile", durationText(fresh?.p95)],
    ]} />
    <p class="muted small">${freshWords(fresh)} Entries that aren't in the index are searched for beside it, until
      ${" "}<code>visnet fold</code> takes them in.</p>`;
}

function freshWords(fresh) {
  if (!fresh?.count) return "Fresh after: nothing was written since the start.";
  const over = countOf(Math.round(fresh.count), "measurement");
  return `Fresh after: from a write's acceptance to a replica that answers by it, over ${over} since the start.`;
}
