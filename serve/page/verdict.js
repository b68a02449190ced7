// The comparison in numbers: how much the two agree, how often each finds the right category, what was preferred.
import {html} from "./vendor.js";
import {Facts} from "./facts.js";
import {categoryPrecision, howSure, mean, overlap, sameFirst, signTest} from "./judging.js";
import {countOf, shareText} from "./wording.js";

/** The section; of queries that both have answered. */
export function Verdict({rows, votes, both, ready, k}) {
  const answered = rows.filter(({a, b}) => a?.results && b?.results);
  const known = answered.filter(({query}) => query.category);
  const of = (figure) => mean(answered.map(figure));
  const precision = (side) => mean(known.map((row) => categoryPrecision(row[side].results, row.query.category, k)));
  return html`<section class="panel stack" aria-labelledby="verdict">
    <div class="bar">
      <h2 id="verdict">In all</h2>
      <span class="muted small end" role="status">${answered.length < rows.length && ready
        ? `${answered.length} of ${countOf(rows.length, "query", "queries")} answered`
        : `Over ${countOf(answered.length, "query", "queries")} that both answered`}</span>
    </div>
    <div class="verdict">
      <${Facts} label="Agreement" facts=${[
        [`Overlap of the first ${k}`, shareText(of(({a, b}) => overlap(a.results, b.results, k)))],
        ["Same first result", shareText(of(({a, b}) => sameFirst(a.results, b.results)))],
      ]} />
      <${Precision} a=${precision("a")} b=${precision("b")} k=${k} known=${known.length} />
      <${Preference} votes=${votes} both=${both} />
    </div>
  </section>`;
}

function Precision({a, b, k, known}) {
  const bar = (side, share) => html`<div class="meter">
    <dt><b class="side-letter">${side}</b></dt>
    <dd><span class="meter-bar" aria-hidden="true"><i style=${{width: `${100 * (share ?? 0)}%`}}></i></span>
      <span class="figures">${shareText(share)}</span></dd>
  </div>`;
  return html`<div class="stack tight">
    <h3>Of the query's category, among the first ${k}</h3>
    <dl aria-label="Category precision">${bar("A", a)}${bar("B", b)}</dl>
    ${!known && html`<p class="muted small">Say what the photos show, and it is counted.</p>`}
  </div>`;
}

function Preference({votes}) {
  const count = (side) => Object.values(votes).filter((one) => one === side).length;
  const [forA, forB, same] = ["A", "B", "same"].map(count);
  const p = signTest(forA, forB);
  const all = forA + forB + same;
  const part = (many, name) => many > 0 && html`<i class=${name} style=${{flexGrow: many}}></i>`;
  return html`<div class="stack tight" role="status" aria-label="Preference">
    <h3>Preferred</h3>
    <p class="figures"><b>A ${forA}</b> · the same ${same} · <b>B ${forB}</b></p>
    <span class="split" aria-hidden="true">${part(forA, "a")}${part(same, "")}${part(forB, "b")}</span>
    <p class="muted small">${all
      ? `Sign test: p = ${p < 0.001 ? "under 0.001" : p.toFixed(p < 0.1 ? 3 : 2)}, ${howSure(p, forA + forB)}.`
      : "Say for each query which side is better. It is kept until the page is closed."}</p>
  </div>`;
}
