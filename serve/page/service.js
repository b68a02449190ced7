// The service, asked over HTTP: every request of the page goes through here, so that keys, problems in the service's
// own words and lost connections are dealt with once.
import {lost} from "./connection.js";
import {getKey, readingNeedsKey} from "./key.js";

const WAITS_MS = [300, 1200];

/** Why a request came to nothing: `detail` is the service's own words. */
export class ServiceError extends Error {
  constructor({status = 0, title = "", detail = "", requestId = "", offline = false}) {
    super(detail || title);
    Object.assign(this, {status, title, detail, requestId, offline});
    this.needsKey = status === 401 || status === 403;
  }
}

export const service = {
  /** @returns {Promise<object>} what the service answers; reads are tried again if the connection was lost */
  get: (path, options) => send("GET", path, {...options, read: true}).then(json),
  /** `form` (FormData) or `json`; `read: true` for a search, which changes nothing and may be tried again. */
  post: (path, options) => send("POST", path, options).then(json),
  put: (path, options) => send("PUT", path, options).then(json),
  remove: (path, options) => send("DELETE", path, options).then(json),
  /** @returns {Promise<string>} */
  text: async (path, options) => (await send("GET", path, {...options, read: true})).text(),
  /** @returns {Promise<Blob>} */
  blob: async (path, options) => (await send("GET", path, {...options, read: true})).blob(),
};

/** Where the API has a product. */
export const productPath = (id) => `/v1/products/${encodeURIComponent(id)}`;

/** A path with its query; a value may be a list, and null, undefined and "" are left out. */
export function address(path, query = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    for (const one of [value].flat()) if (one != null && one !== "") given.append(name, one);
  const text = String(given);
  return text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path;
}

async function send(method, path, {query, json: body, form, signal, read} = {}) {
  const headers = {};
  if (getKey()) headers["X-API-Key"] = getKey();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = {method, headers, signal, body: form ?? (body === undefined ? undefined : JSON.stringify(body))};
  const response = await reach(address(path, query), request, read ? WAITS_MS : []);
  if (response.ok) return response;
  if (response.status === 401 && (read || method === "GET")) readingNeedsKey();
  throw await problem(response);
}

async function reach(url, request, waits) {
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!waits.length || !navigator.onLine) {
      lost();
      throw new ServiceError({title: "No connection", detail: "The service can't be reached.", offline: true});
    }
    await new Promise((go) => setTimeout(go, waits[0]));
    request.signal?.throwIfAborted();
    return reach(url, request, waits.slice(1));
  }
}

async function json(response) {
  if (response.status === 204) return {};
  return response.json();
}

async function problem(response) {
  const said = await response.json().catch(() => ({}));
  return new ServiceError({
    status: response.status,
    title: said.title || `The service answered ${response.status}`,
    detail: typeof said.detail === "string" ? said.detail : "",
    requestId: said.request_id || response.headers.get("X-Request-ID") || "",
  });
}
