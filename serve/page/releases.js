// The releases that the service could serve, how good each was found to be, and the buttons that switch between them.
import {html} from "./vendor.js";
import {Empty} from "./states.js";
import {Confirmed, Failure} from "./acting.js";
import {useSwitches} from "./switches.js";
import {Switching} from "./switching.js";
import {figureText, momentText} from "./wording.js";

const RECALLS = [1, 5, 10, 20].map((k) => `recall@${k}`);

/** The section. */
export function Releases({standing: {releases, status}, again}) {
  const switches = useSwitches(again);
  const {previous, switching_to: next} = releases;
  const newestFirst = [...releases.releases].reverse();
  const columns = RECALLS.filter((name) => newestFirst.some(({figures}) => figures[name] != null));
  const served = newestFirst.find(({release}) => release === releases.serving);
  return html`<section class="panel stack" aria-labelledby="releases">
    <div class="bar">
      <h2 id="releases">Releases</h2>
      ${previous && html`<div class="end"><${Confirmed} label="Roll back to the previous release"
        busy=${Boolean(next) || switches.rollback.busy}
        question=${`Serve ${previous} again in place of ${releases.serving}?`} confirm=${`Roll back to ${previous}`}
        onConfirm=${() => switches.rollback.run()} /></div>`}
    </div>
    <${Switching} releases=${releases} status=${status} />
    <${Failure} action=${switches.promote} saying="The release was not promoted." />
    <${InSpite} promote=${switches.promote} />
    <${Failure} action=${switches.rollback} saying="The service was not rolled back." />
    <${Failure} action=${switches.preview} saying="The preview was not started." />
    <${Failure} action=${switches.end} saying="The preview was not ended." />
    ${newestFirst.length
      ? html`<table class="table stacked releases">
          <caption class="visually-hidden">Releases, newest first</caption>
          <thead><tr>
            <th scope="col">Release</th><th scope="col">Encoder</th>
            ${columns.map((name) => html`<th scope="col" class="number">${name}</th>`)}
            <th scope="col">Gates</th><th scope="col">Actions</th>
          </tr></thead>
          <tbody>${newestFirst.map(
            (one) => html`<${Row} key=${one.release} one=${one} served=${served} columns=${columns} state=${releases}
              switches=${switches} />`,
          )}</tbody>
        </table>`
      : html`<${Empty} title="No release yet"><p>Make one with <code>visnet release create</code>.</p><//>`}
  </section>`;
}

/** A release that is worse than the served one, or can't be compared with it, is promoted only if that is said. */
function InSpite({promote: {error, given, busy, run}}) {
  if (error?.status !== 409 || !error.detail.includes("did not pass")) return null;
  const [release] = given;
  return html`<div><${Confirmed} label=${`Promote ${release} all the same`} danger busy=${busy}
    question=${`Serve ${release} in spite of that?`} confirm="Promote in spite of its gates"
    onConfirm=${() => run(release, true)} /></div>`;
}

function Row({one, served, columns, state, switches}) {
  const detector = one.detector ? `, finds items with ${one.detector}` : "";
  return html`<tr data-release=${one.release} class=${one === served ? "served" : ""}>
    <th scope="row">
      <span class="id">${one.release}</span><${Marks} release=${one.release} state=${state} />
      <span class="muted small">${momentText(one.created_at)}</span>
    </th>
    <td data-label="Encoder"><span class="id">${one.encoder}</span>
      <span class="muted small">${one.catalog}${detector}</span></td>
    ${columns.map(
      (name) => html`<td class="number" data-label=${name}><${Recall} name=${name} one=${one} served=${served} /></td>`,
    )}
    <td data-label="Gates"><${Gates} one=${one} /></td>
    <td class="actions"><${Actions} one=${one} state=${state} switches=${switches} /></td>
  </tr>`;
}

function Marks({release, state}) {
  const marks = [
    release === state.serving && ["good", "serving"],
    release === state.switching_to && ["warn", "being switched to"],
    release === state.preview && ["warn", state.preview_ready ? "preview" : "preview starting"],
    release === state.previous && ["", "previous"],
  ];
  return html`<span class="marks">
    ${marks.filter(Boolean).map(([tone, words]) => html`<span class="mark ${tone}">${words}</span>`)}
  </span>`;
}

/** A figure, and how it differs from the served release's. */
function Recall({name, one, served}) {
  const figure = one.figures[name];
  const against = served?.figures[name];
  const change = one !== served && figure != null && against != null ? figure - against : null;
  const words = change == null ? "" : changeText(change);
  const tone = words === "same" ? "muted" : change > 0 ? "good" : "bad";
  return html`<span>${figureText(figure)}</span>${words &&
  html`<span class="small ${tone}"><span class="visually-hidden">against the served release </span>${words}</span>`}`;
}

function changeText(change) {
  if (Math.abs(change) < 0.0005) return "same";
  return `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(3)}`;
}

function Gates({one: {gates, passed}}) {
  if (!gates.length) return html`<span class="muted">${passed ? "passed" : "not passed"}</span>`;
  const failed = gates.filter((gate) => !gate.passed).length;
  const words = failed ? `${failed} of ${gates.length} failed` : `${gates.length} passed`;
  return html`<details class="gates">
    <summary><span class="sign ${failed || !passed ? "bad" : "good"}">${words}</span></summary>
    <ul>${gates.map(
      (gate) => html`<li><span class="sign ${gate.passed ? "good" : "bad"}">${gate.name}</span>
        <span class="muted small">${gate.passed ? "passed" : "failed"}: ${gate.detail}</span></li>`,
    )}</ul>
  </details>`;
}

function Actions({one, state, switches: {promote, preview, end}}) {
  const {release: id, passed} = one;
  const busy = Boolean(state.switching_to) || promote.busy || preview.busy || end.busy;
  if (id === state.serving) return html`<span class="muted">Answers every search</span>`;
  const named = (label) => `${label} ${id}`;
  const previewing = id === state.preview;
  return html`<div class="bar">
    <${Confirmed} label="Promote" name=${named("Promote")} danger=${!passed} busy=${busy}
      onConfirm=${() => promote.run(id, !passed)}
      question=${passed ? `Serve ${id} in place of ${state.serving}?`
        : `${id} did not pass its gates. Serve it all the same?`}
      confirm=${passed ? `Promote ${id}` : "Promote in spite of its gates"} />
    ${previewing
      ? html`<button type="button" class="button small" disabled=${busy} aria-label=${named("End preview of")}
        onClick=${() => end.run()}>End preview</button>
          ${state.preview_ready && html`<a href="#/compare">Compare</a>`}`
      : html`<button type="button" class="button small" disabled=${busy} aria-label=${named("Preview")}
        onClick=${() => preview.run(id)}>Preview</button>`}
  </div>`;
}
