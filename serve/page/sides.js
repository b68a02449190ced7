// Which two releases are compared, and the preview that serves the one of them that isn't the current one.
import {html} from "./vendor.js";
import {Failure} from "./acting.js";
import {choose, unserved} from "./comparison.js";
import {useSwitches} from "./switches.js";
import {Switching} from "./switching.js";

/** The section. */
export function Sides({both, standing: {releases, status}, again}) {
  const switches = useSwitches(again);
  const {preview, preview_ready: ready} = releases;
  return html`<section class="panel stack" aria-labelledby="sides">
    <div class="bar">
      <h2 id="sides">Releases</h2>
      ${preview && html`<button type="button" class="button small end" disabled=${switches.end.busy}
        onClick=${() => switches.end.run()}>
        End the preview</button>`}
    </div>
    <div class="sides">
      <${Side} side="A" both=${both} releases=${releases} />
      <span class="against muted" aria-hidden="true">against</span>
      <${Side} side="B" both=${both} releases=${releases} />
    </div>
    <${Switching} releases=${releases} status=${status} />
    ${!(preview && !ready) && html`<${Missing} both=${both} releases=${releases} switches=${switches} />`}
    <${Failure} action=${switches.preview} saying="The preview was not started." />
    <${Failure} action=${switches.end} saying="The preview was not ended." />
  </section>`;
}

function Side({side, both, releases}) {
  const [mine, other] = side === "A" ? [both.a, both.b] : [both.b, both.a];
  const field = side.toLowerCase();
  const change = (event) => {
    const chosen = event.target.value;
    choose({...both, [field]: chosen, ...(chosen === other ? {[field === "a" ? "b" : "a"]: mine} : {})});
  };
  return html`<label class="field"><span><b class="side-letter">${side}</b> Release ${side}</span>
    <select value=${mine} onChange=${change}>
      ${[...releases.releases].reverse().map(
        ({release, encoder}) => html`<option value=${release} selected=${release === mine}>
          ${release} · ${encoder}${role(release, releases)}</option>`,
      )}
    </select>
  </label>`;
}

function role(release, {serving, preview, preview_ready: ready}) {
  if (release === serving) return " (serving)";
  return release === preview && ready ? " (preview)" : "";
}

/** What has to happen before both can be searched. */
function Missing({both, releases, switches}) {
  const missing = unserved(both, releases);
  const {serving, preview} = releases;
  if (both.a !== serving && both.b !== serving)
    return html`<div class="note warn">
      <strong>Two releases can be served at once, and one of them is ${serving}.</strong>
      <p>Choose it on one side, or promote one of these first.</p>
      <button type="button" class="button small" onClick=${() => choose({a: serving, b: both.b})}>
        Take ${serving} as A</button>
    </div>`;
  if (!missing.length) return null;
  const [release] = missing;
  return html`<div class="note warn"><strong>${release} is not served.</strong>
    <p>A preview starts it beside ${serving}, which goes on answering everybody; it needs room for both.
      ${preview && ` The preview of ${preview} ends.`}</p>
    <button type="button" class="button small primary" disabled=${switches.preview.busy}
      onClick=${() => switches.preview.run(release)}>
      Start the preview of ${release}</button>
  </div>`;
}
