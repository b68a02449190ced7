// How a switch of releases goes, or why it failed: in the service's words, with its parts counted.
import {html} from "./vendor.js";
import {countOf} from "./wording.js";

/** Progress of a switch and of a preview, and the last failure. */
export function Switching({releases, status}) {
  const {switching_to: next, preview, preview_ready: ready, failed, preview_failed: notPreviewed, serving} = releases;
  return html`<div role="status" class="stack">
    ${next && html`<${Progress} words=${`Switching to ${next}; ${serving} answers until it stands.`}
      parts=${status.parts} release=${next} />`}
    ${preview && !ready && html`<${Progress} words=${`Starting ${preview} beside ${serving}, as a preview.`}
      parts=${status.parts} release=${preview} />`}
  </div>
  ${failed && html`<p class="note bad" role="alert"><strong>The last switch failed.</strong> ${failed}</p>`}
  ${notPreviewed &&
  html`<p class="note bad" role="alert"><strong>The last preview failed.</strong> ${notPreviewed}</p>`}
  ${status.problem &&
  html`<p class="note bad" role="alert"><strong>The controller can't do its work.</strong> ${status.problem}</p>`}`;
}

function Progress({words, parts, release}) {
  const its = parts.filter((part) => part.release === release);
  const ready = its.filter((part) => part.state === "ready").length;
  const count = its.length ? `${ready} of ${countOf(its.length, "part")} ready` : "Its parts are being placed";
  return html`<div class="note warn">
    <span class="loading"><span class="spinner" aria-hidden="true"></span><span>${words} ${count}.</span></span>
    ${its.length > 0 && html`<progress class="progress" max=${its.length} value=${ready}
      aria-label=${`Parts of ${release} that are ready`}></progress>`}
  </div>`;
}
