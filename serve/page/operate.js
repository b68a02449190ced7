// The view of whoever is on call: which release is served and how its parts stand, what the service is doing now, the
// journal, and the catalogue's shape.
import "./desk.js";
import {html} from "./vendor.js";
import {Headline, Problem} from "./states.js";
import {Stale} from "./acting.js";
import {useStanding} from "./standing.js";
import {Releases} from "./releases.js";
import {Parts} from "./parts.js";
import {Live} from "./live.js";
import {Journal} from "./journal.js";
import {MapSection} from "./map.js";
import {useReadings} from "./readings.js";
import {Waiting} from "./waiting.js";

/** The view. */
export default function Operate() {
  const asked = useStanding();
  const readings = useReadings();
  const {value, error, again} = asked;
  return html`<div class="view desk">
    <${Headline} title="Operate">${value && html`<${Standing} ...${value} lost=${Boolean(error)} />`}<//>
    <${Stale} asked=${asked} at=${value?.at} />
    ${error && !value && html`<${Problem} error=${error} again=${again} />`}
    ${!value && !error && html`<${Waiting} what="Asking how the service stands" panels=${[5, 7]} />`}
    ${value && html`<${Releases} standing=${value} again=${again} /><${Parts} status=${value.status} />`}
    ${(value || !error?.needsKey) && html`<${Live} readings=${readings} />`}
    ${value && html`<${Journal} journal=${value.status.journal} readings=${readings} />`}
    ${value && html`<${MapSection} release=${value.releases.serving} />`}
  </div>`;
}

/** In one line: whether something needs attention. */
function Standing({status, at, lost}) {
  const [tone, words] = lost ? ["warn", `No word since ${at}`] : attention(status);
  return html`<p class="standing" role="status">
    <span class="sign ${tone}">${words}</span>
    ${!lost && html`<span class="muted figures" aria-hidden="true">${at}</span>`}
  </p>`;
}

function attention({problem, parts, shards, switching_to: next}) {
  const down = shards.filter(({up}) => !up).length;
  const failed = parts.filter(({state}) => state === "failed").length;
  if (problem) return ["bad", "The controller has a problem"];
  if (down) return ["bad", `${down} of ${shards.length} shards down`];
  if (failed) return ["bad", `${failed} of ${parts.length} parts failed`];
  return next ? ["warn", "Switching releases"] : ["good", "All parts are up"];
}
