// What requests and batches spend their time on: a table by stage, in the order in which a search goes through them.
import {html} from "./vendor.js";
import {countText, durationText, rateText} from "./wording.js";

const ABOUT = {
  read: "a request is read, its photo fetched",
  embed: "a request waits for its photo's vector",
  queue: "a photo waits for the embedder",
  decode: "a batch of photos is decoded",
  detect: "items are looked for in a batch",
  crop: "items are cut out of a batch",
  network: "the encoder's network, a batch",
  search: "a request waits for the shards",
  fan_out: "a batch of searches goes to all shards",
  shard_queue: "a batch waits in a shard",
  shard_search: "a shard searches its index",
  merge: "the shards' results become one",
  look_up: "a request's product is looked up",
  sample: "products are drawn at random",
  describe: "the catalogue's values are counted",
  journal: "a transaction is written",
};
const ORDER = Object.keys(ABOUT);
const place = (stage) => (ORDER.includes(stage) ? ORDER.indexOf(stage) : ORDER.length);

/** The table; `whole`: of all that was counted, so there is no rate. */
export function Stages({stages, whole}) {
  if (!stages.length)
    return html`<p class="muted">${whole ? "Nothing was measured yet." : "No stage was busy in this time."}</p>`;
  const longest = Math.max(...stages.map(({p95}) => p95));
  const inOrder = [...stages].sort((one, other) => place(one.stage) - place(other.stage));
  const often = whole ? "Times" : "Per second";
  return html`<table class="table stacked stages">
    <caption class="visually-hidden">Time spent by stage</caption>
    <thead><tr>
      <th scope="col">Stage</th><th scope="col" class="wide">Median to 95th percentile</th>
      <th scope="col" class="number">Median</th><th scope="col" class="number">95th percentile</th>
      <th scope="col" class="number">${often}</th>
    </tr></thead>
    <tbody>${inOrder.map(
      (one) => html`<${Row} key=${one.stage} one=${one} longest=${longest} often=${often} whole=${whole} />`,
    )}</tbody>
  </table>`;
}

function Row({one: {stage, p50, p95, count, rate}, longest, often, whole}) {
  const along = (seconds) => `${(100 * seconds) / longest}%`;
  return html`<tr data-stage=${stage}>
    <th scope="row">${stage.replaceAll("_", " ")}<span class="muted small">${ABOUT[stage]}</span></th>
    <td class="wide"><span class="spread" aria-hidden="true">
      <i style=${{width: along(p95)}}></i><b style=${{width: along(p50)}}></b>
    </span></td>
    <td class="number" data-label="Median">${durationText(p50)}</td>
    <td class="number" data-label="95th percentile">${durationText(p95)}</td>
    <td class="number" data-label=${often}>${whole ? countText(Math.round(count)) : rateText(rate)}</td>
  </tr>`;
}
