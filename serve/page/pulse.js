// What the service did between two readings of its metrics: rates, errors and latencies, over all and by stage. Plain
// functions of what `figures.js` reads.
import {histogram, labelValues, percentile, rise, total} from "./figures.js";

const WATCHING = ["/metrics", "/v1/status", "/v1/releases", "/v1/map", "/livez", "/readyz", "/healthz", "/",
  "/page/{path}"];
const NONE = new Map();

/** Whether a request is a client's, and not of whoever watches the service, such as this page. */
const isClients = ({route = ""}) => !WATCHING.includes(route) && !route.startsWith("/page");

const isFailure = (labels) => isClients(labels) && labels.status?.startsWith("5");

/**
 * What happened between two readings, `seconds` apart; `before` may be null for all since the service was started,
 * which has no rates.
 */
export function pulse(before, after, seconds = null) {
  const risen = rise(before ?? NONE, after);
  const rate = (count) => (seconds ? count / seconds : null);
  const requests = total(risen, "visnet_requests_total", isClients);
  const failures = total(risen, "visnet_requests_total", isFailure);
  const latency = histogram(risen, "visnet_request_seconds", isClients);
  return {
    requests,
    requestRate: rate(requests),
    failures,
    failureShare: requests > 0 ? failures / requests : null,
    p50: percentile(latency, 0.5),
    p95: percentile(latency, 0.95),
    p99: percentile(latency, 0.99),
    shed: total(risen, "visnet_shed_total"),
    partial: total(risen, "visnet_partial_answers_total"),
    stages: stages(risen, rate),
  };
}

function stages(risen, rate) {
  return labelValues(risen, "visnet_stage_seconds_count", "stage").map((stage) => {
    const seen = histogram(risen, "visnet_stage_seconds", (labels) => labels.stage === stage);
    return {
      stage,
      count: seen.count,
      rate: rate(seen.count),
      p50: percentile(seen, 0.5),
      p95: percentile(seen, 0.95),
    };
  });
}

/** How soon writes were answered by, over the whole of a reading. */
export function freshness(reading) {
  const seen = histogram(reading, "visnet_freshness_seconds");
  return {count: seen.count, p50: percentile(seen, 0.5), p95: percentile(seen, 0.95)};
}
