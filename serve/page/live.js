// What the service is doing: requests, errors and latencies of the last minute, their course, and what the stages take.
import {html, useState} from "./vendor.js";
import {Loading, Problem} from "./states.js";
import {Stale} from "./acting.js";
import {KEPT_MS} from "./readings.js";
import {Sparkline} from "./sparkline.js";
import {Stages} from "./stages.js";
import {clockText, countText, durationText, rateText, shareText} from "./wording.js";

const LEAST_MS = 60_000; // a line that has just begun does not fill its chart
const FIGURES = [
  {name: "Requests per second", of: (now) => now.requestRate, text: rateText},
  {name: "Server errors", of: (now) => now.failureShare, text: shareText, ill: (now) => now.failures > 0},
  {name: "Median latency", of: (now) => now.p50, text: durationText},
  {name: "95th percentile", of: (now) => now.p95, text: durationText},
  {name: "99th percentile", of: (now) => now.p99, text: durationText},
  {name: "Shed requests", of: (now) => now.shed, text: whole, ill: (now) => now.shed > 0},
  {name: "Partial answers", of: (now) => now.partial, text: whole, ill: (now) => now.partial > 0},
];

function whole(count) {
  return countText(count == null ? null : Math.round(count));
}

/** The section; `readings` is what `useReadings` answers. */
export function Live({readings}) {
  const {value, error, again} = readings;
  const at = value && value.readings.at(-1).at;
  return html`<section class="panel stack" aria-labelledby="live">
    <div class="bar">
      <h2 id="live">Live</h2>
      ${value?.last &&
      html`<span class="muted end small">The last ${Math.round(value.lastS)} s; lines: up to five minutes</span>`}
    </div>
    <${Stale} asked=${readings} at=${at && clockText(at)} />
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value?.last && !error && html`<${Loading}
      what="Waiting for the first figures: the metrics are read every three seconds" />`}
    ${value?.last && html`<${Tiles} value=${value} at=${at} /><${ByStage} value=${value} />`}
  </section>`;
}

function Tiles({value: {last, points}, at}) {
  const from = Math.max(at - KEPT_MS, Math.min(at - LEAST_MS, points[0].at));
  return html`<dl class="tiles">
      ${FIGURES.map(
        ({name, of, text, ill}) => html`<div key=${name} class="tile ${ill?.(last) ? "ill" : ""}">
          <dt>${name}</dt>
          <dd>${text(of(last))}</dd>
          <dd class="tile-line"><${Sparkline} from=${from} to=${at}
            points=${points.map((one) => ({at: one.at, value: of(one)}))} /></dd>
        </div>`,
      )}
    </dl>
    ${last.requests === 0 && html`<p class="muted">No client has asked for anything in this time.</p>`}`;
}

/** The table by stage, of the last minute or of all that was counted since the service was started. */
function ByStage({value: {last, whole}}) {
  const [since, setSince] = useState("last");
  const shown = since === "last" ? last : whole;
  const choose = (which, words) =>
    html`<button type="button" class="chip" aria-pressed=${since === which}
      onClick=${() => setSince(which)}>${words}</button>`;
  return html`<div class="bar">
      <h3>By stage</h3>
      <div class="chips end" role="group" aria-label="Time that the stages are shown for">
        ${choose("last", "Last minute")}${choose("start", "Since the start")}
      </div>
    </div>
    <${Stages} stages=${shown.stages.filter(({count}) => count > 0)} whole=${since === "start"} />`;
}
