// The service's metrics, read every three seconds, and the last five minutes of them.
import {useRef} from "./vendor.js";
import {service} from "./service.js";
import {useAsked} from "./asked.js";
import {carriedOn, readMetrics} from "./figures.js";
import {pulse} from "./pulse.js";

export const EVERY_MS = 3000;
export const KEPT_MS = 300_000;
const WINDOW_MS = 60_000;
const SMOOTH_MS = 15_000; // the service sends its counts on every few seconds: a shorter window shows only that
const NOTHING = {readings: [], points: []};

/**
 * Read the metrics again and again.
 * @returns {{value: ?{readings: Array<{at: number, series: Map}>, points: Array, last: ?object, lastS: number,
 *   whole: object}, error: ?Error, again: function}} `last` is what happened in the last minute (null before the second
 *   reading), `whole` since the service was started, and `points` what happened up to each moment of the last minutes
 */
export function useReadings() {
  const kept = useRef(NOTHING);
  return useAsked(
    async (signal) => {
      const series = readMetrics(await service.text("/metrics", {signal}));
      return (kept.current = followed(kept.current, {at: Date.now(), series}));
    },
    [],
    {everyMs: EVERY_MS},
  );
}

/** What is kept once a reading has come. */
function followed({readings, points}, {at, series}) {
  const before = readings.at(-1);
  const reading = {at, series: before ? carriedOn(before.series, series) : series};
  const all = [...readings.filter((one) => one.at > at - WINDOW_MS - EVERY_MS || one === before), reading];
  const point = since(all, SMOOTH_MS);
  const last = since(all, WINDOW_MS);
  return {
    readings: all,
    points: [...points.filter((one) => one.at > at - KEPT_MS), ...(point ? [{at, ...point}] : [])],
    last,
    lastS: last?.seconds ?? 0,
    whole: pulse(null, reading.series),
  };
}

/** What happened since the reading that is nearest to so long ago; null if there is one reading only. */
function since(readings, agoMs) {
  const after = readings.at(-1);
  const before = readings.slice(0, -1).find(({at}) => at >= after.at - agoMs) ?? readings.at(-2);
  if (!before) return null;
  const seconds = (after.at - before.at) / 1000;
  return {...pulse(before.series, after.series, seconds), seconds};
}
