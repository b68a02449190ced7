// The parts that make up the service, each with its state in a word, its replicas, and what a shard holds.
import {html} from "./vendor.js";
import {countOf, countText} from "./wording.js";

const ORDER = ["ingress", "controller", "embedder", "shard"];
const WORDS = {ready: ["good", "up"], starting: ["warn", "starting"], failed: ["bad", "failed"]};
const MOST_PIPS = 12;

/** A part with what its shard says of itself: shards report for the release that is served. */
function joined(status) {
  const byShard = new Map(status.shards.map((shard) => [shard.shard, shard]));
  const inOrder = [...status.parts].sort((one, other) => ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind));
  return inOrder.map((part) => {
    const holds = part.kind === "shard" && part.release === status.release ? byShard.get(part.shard) : null;
    return {...part, holds, state: holds && !holds.up && part.state === "ready" ? "down" : part.state};
  });
}

/** How many entries of the journal a shard has not applied. */
const behind = (holds, journal) =>
  journal && holds?.sequence != null ? Math.max(0, journal.head - holds.sequence) : null;

/** The section. */
export function Parts({status}) {
  const parts = joined(status);
  const releases = new Set(parts.map(({release}) => release).filter(Boolean));
  return html`<section class="panel stack" aria-labelledby="parts">
    <h2 id="parts">Parts</h2>
    <table class="table stacked parts">
      <caption class="visually-hidden">Parts of the service</caption>
      <thead><tr>
        <th scope="col">Part</th><th scope="col">State</th><th scope="col">Replicas</th>
        <th scope="col" class="number">Images</th>
        <th scope="col" class="number">Changed</th><th scope="col" class="number">Behind</th>
      </tr></thead>
      <tbody>${parts.map(
        (part) => html`<${Row} key=${part.name} part=${part} journal=${status.journal} several=${releases.size > 1} />`,
      )}</tbody>
    </table>
    <p class="muted small">Changed: images that were written since the index was built. Behind: entries of the journal
      that a shard has not applied yet.</p>
  </section>`;
}

function Row({part, journal, several}) {
  const [tone, word] = WORDS[part.state] || ["bad", part.state];
  const {holds} = part;
  const lag = behind(holds, journal);
  const figure = holds ? "number" : "number none";
  return html`<tr data-part=${part.name}>
    <th scope="row">${title(part)}
      ${several && part.release && html`<span class="id muted small">${part.release}</span>`}</th>
    <td data-label="State"><span class="sign ${tone}">${word}</span>
      ${part.detail && html`<span class="small wrap">${part.detail}</span>`}</td>
    <td data-label="Replicas"><${Replicas} part=${part} /></td>
    <td data-label="Images" class=${figure}>${countText(holds?.images)}</td>
    <td data-label="Changed" class=${figure}>${countText(holds?.changed)}</td>
    <td data-label="Behind" class=${figure}>
      ${lag ? html`<span class="sign warn">${countText(lag)}</span>` : countText(lag)}</td>
  </tr>`;
}

function title({kind, shard}) {
  return kind === "shard" ? `Shard ${shard ?? ""}` : kind[0].toUpperCase() + kind.slice(1);
}

/** A pip for each replica that is wanted, and the same in words. */
function Replicas({part: {replicas, wanted}}) {
  const running = replicas.RUNNING ?? 0;
  const others = Object.entries(replicas).filter(([state, count]) => state !== "RUNNING" && count);
  const most = Math.max(wanted ?? 0, Object.values(replicas).reduce((sum, count) => sum + count, 0));
  const words = wanted == null ? countOf(running, "running", "running") : `${running} of ${wanted} running`;
  const more = others.map(([state, count]) => `, ${count} ${state.toLowerCase().replaceAll("_", " ")}`).join("");
  return html`<span class="replicas">
    ${most <= MOST_PIPS && html`<span class="pips" aria-hidden="true">
      ${Array.from({length: most}, (_, at) => html`<i class=${at < running ? "on" : ""}></i>`)}</span>`}
    <span>${words}${more}</span>
  </span>`;
}
