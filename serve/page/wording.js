// How numbers, times and shares are written in the views for those who run the service.

const WHOLE = new Intl.NumberFormat("en", {maximumFractionDigits: 0});

/** A count: 12,345. "–" where there is none. */
export const countText = (count) => (count == null ? "–" : WHOLE.format(count));

/** A count of things: "1 image", "2 images". */
export const countOf = (count, one, many = `${one}s`) => `${countText(count)} ${count === 1 ? one : many}`;

/** A duration in the unit that suits it: 0.4 ms, 38 ms, 1.2 s. */
export function durationText(seconds) {
  if (seconds == null) return "–";
  if (seconds < 0.01) return `${(1000 * seconds).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : `${WHOLE.format(seconds / 60)} min`;
}

/** A wait in seconds, with a decimal while it is short: 0.3 s. */
export const waitText = (seconds) => `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;

/** A rate per second: 0.25, 3.1, 120. */
export function rateText(rate) {
  if (rate == null) return "–";
  if (rate === 0) return "0";
  return rate < 1 ? rate.toFixed(2) : rate < 100 ? rate.toFixed(1) : WHOLE.format(rate);
}

/** A share of 1 as a percentage; small ones keep a decimal. */
export function shareText(share) {
  if (share == null) return "–";
  const percent = 100 * share;
  return `${percent > 0 && percent < 1 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** A figure of an evaluation: 0.561. */
export const figureText = (figure) => (figure == null ? "–" : figure.toFixed(3));

/** The clock at a moment: 14:05:09. */
export const clockText = (moment) => new Date(moment).toLocaleTimeString("en-GB");

/** A moment as a date and the minute, in the reader's time: 28 Nov 2026, 17:45. */
export function momentText(iso) {
  const moment = new Date(iso);
  if (!iso || Number.isNaN(moment.getTime())) return iso || "–";
  return moment.toLocaleString("en-GB", {dateStyle: "medium", timeStyle: "short"});
}
