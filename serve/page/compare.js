// Two releases side by side: the same queries, what each finds, how much they differ, and which of them people prefer.
import "./desk.js";
import {html} from "./vendor.js";
import {useStore} from "./store.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {Empty, Headline, Partial, Problem} from "./states.js";
import {Failure, Stale, useAction} from "./acting.js";
import {useStanding} from "./standing.js";
import {K, useAnswers} from "./answers.js";
import {addPhotos, addProducts, clearQueries, comparison, sides, unserved} from "./comparison.js";
import {CompareRow} from "./compare_row.js";
import {Drop} from "./dropping.js";
import {Sides} from "./sides.js";
import {Verdict} from "./verdict.js";
import {Waiting} from "./waiting.js";

const SAMPLE = 8;

/** The view. */
export default function Compare() {
  const asked = useStanding();
  const catalog = useAsked((signal) => service.get("/v1/catalog", {signal}), []);
  const {value, error, again} = asked;
  const categories = catalog.value?.categories.map((one) => one.value) ?? [];
  return html`<div class="view desk">
    <${Headline} title="Compare two releases" />
    <${Stale} asked=${asked} at=${value?.at} />
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value && !error && html`<${Waiting} what="Asking for the releases" panels=${[3, 4]} />`}
    ${value && (value.releases.releases.length > 1
      ? html`<${Comparison} standing=${value} again=${again} categories=${categories} />`
      : html`<${OneOnly} releases=${value.releases} />`)}
  </div>`;
}

const OneOnly = ({releases: {serving}}) =>
  html`<div class="panel"><${Empty} title="There is one release only">
    <p>${serving && html`<span class="id">${serving}</span> is served.`} There is no other to compare it with.</p>
    <p>Make a second one, from another encoder or another index, with ${" "}<code>visnet release create</code>; then
      come back and start its preview, and both answer the same queries here.</p>
  <//></div>`;

function Comparison({standing, again, categories}) {
  const {queries, votes, ...chosen} = useStore(comparison);
  const both = sides(chosen, standing.releases);
  const ready = !unserved(both, standing.releases).length;
  const answers = useAnswers(queries, [both.a, both.b], ready);
  const rows = queries.map((query) => ({query, a: answers.of(query, both.a), b: answers.of(query, both.b)}));
  const partial = rows.flatMap(({a, b}) => [a?.answer, b?.answer]).find((answer) => answer?.partial);
  return html`
    <${Sides} both=${both} standing=${standing} again=${again} />
    <${Queries} count=${queries.length} />
    ${queries.length > 0 && html`<${Verdict} rows=${rows} votes=${votes} both=${both} ready=${ready} k=${K} />
    <section class="stack" aria-labelledby="queries">
      <h2 id="queries">Query by query</h2>
      <${Partial} answer=${partial} />
      <ol class="stack">
        ${rows.map(
          (row) => html`<${CompareRow} key=${row.query.key} row=${row} both=${both} vote=${votes[row.query.key]}
            ready=${ready} categories=${categories} again=${answers.again} />`,
        )}
      </ol>
    </section>`}`;
}

function Queries({count}) {
  const sampling = useAction(async () => {
    const query = {sample: SAMPLE, seed: Math.ceil(Math.random() * 1e6)};
    addProducts((await service.get("/v1/products", {query})).results);
  });
  return html`<section class="panel stack" aria-labelledby="ask">
    <div class="bar">
      <h2 id="ask">Queries</h2>
      ${count > 0 && html`<button type="button" class="button quiet small end"
        onClick=${clearQueries}>Clear the queries</button>`}
    </div>
    <div class="ask">
      <${Drop} label="Photos" multiple onFiles=${addPhotos}
        hint="Drop several, choose or paste them: they are searched for in both releases.">
        <span class="dropzone-sign" aria-hidden="true">+</span>
      <//>
      <div class="stack">
        <button type="button" class=${`button ${count ? "" : "primary"}`} disabled=${sampling.busy}
          onClick=${() => sampling.run()}>
          Compare ${SAMPLE} random products</button>
        <p class="muted small">Products know their category, so it can be counted how many results share it.</p>
      </div>
    </div>
    <${Failure} action=${sampling} />
  </section>`;
}
