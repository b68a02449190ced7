// How the service stands, asked every so often: its releases and what it says of its parts, as of one moment.
import {useEffect, useState} from "./vendor.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {clockText} from "./wording.js";

const EVERY_MS = 5000;
const CHANGING_MS = 1000;

/**
 * Ask for the service's standing; more often while a release or a preview is being started.
 * @returns {{value: ?{releases: object, status: object, at: string}, error: ?Error, again: function}}
 */
export function useStanding() {
  const [changing, setChanging] = useState(false);
  const asked = useAsked(standing, [], {everyMs: changing ? CHANGING_MS : EVERY_MS});
  useEffect(() => setChanging(isChanging(asked.value?.releases)), [asked.value]);
  return asked;
}

const isChanging = (releases) =>
  Boolean(releases?.switching_to || (releases?.preview && !releases.preview_ready));

async function standing(signal) {
  const both = ["/v1/releases", "/v1/status"].map((path) => service.get(path, {signal}));
  const [releases, status] = await Promise.all(both);
  return {releases: underWay(releases), status: underWay(status), at: clockText(Date.now())};
}

/** The service goes on naming a switch that failed; here `switching_to` is only what is under way. */
const underWay = (answer) => ({...answer, switching_to: answer.failed ? null : answer.switching_to});
