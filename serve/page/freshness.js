// Whether a write is seen: after the service has acknowledged it, it is asked until an answer holds it. What it takes
// is measured from the acknowledgement on.
import {service} from "./service.js";

const FIRST_WAIT_MS = 40;
const LONGEST_WAIT_MS = 1000;
const PATIENCE_S = 60;
const NEAREST = 9;

/** Thrown where a write isn't seen in time. */
class NotSeenError extends Error {
  constructor(sequence) {
    const will = "It will once the shards have caught up.";
    super(`Write ${sequence} is kept, but no answer held it within ${PATIENCE_S} s. ${will}`);
  }
}

/**
 * Search until an answer holds the write: with the picture that was saved, or with the product where it kept its own.
 * @param {{productId: string, sequence: number, picture: ?File}} write
 * @returns {Promise<{afterS: number, answer: object}>} the answer's results are without the product itself
 */
export const untilSearchable = (write, signal) =>
  until(write, signal, async () => {
    const answer = await service.post("/v1/search", {...question(write), signal, read: true});
    if (answer.sequence < write.sequence) return null;
    return {...answer, results: answer.results.filter((one) => one.product_id !== write.productId)};
  });

function question({productId, picture}) {
  if (!picture) return {json: {product_id: productId, k: NEAREST}};
  const form = new FormData();
  form.append("image", picture);
  form.append("k", NEAREST);
  return {form};
}

/** Ask for the product among all, by a filter, until an answer holds the write that deleted it, and not the product. */
export const untilGone = (write, signal) =>
  until(write, signal, async () => {
    const filter = JSON.stringify({must: [{field: "product_id", eq: write.productId}]});
    const answer = await service.get("/v1/products", {query: {sample: 1, filter}, signal});
    return answer.sequence < write.sequence || answer.results.length ? null : answer;
  });

async function until(write, signal, seen) {
  const started = performance.now();
  const passed = () => (performance.now() - started) / 1000;
  for (let wait = FIRST_WAIT_MS; passed() < PATIENCE_S; wait = Math.min(LONGEST_WAIT_MS, 1.3 * wait)) {
    const answer = await seen();
    if (answer) return {afterS: passed(), answer};
    await new Promise((go) => setTimeout(go, wait));
    signal.throwIfAborted();
  }
  throw new NotSeenError(write.sequence);
}
