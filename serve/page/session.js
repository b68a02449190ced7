// The search that is under way: what is searched for, how it is narrowed, and what was found. It lives outside the
// view, so that going to a product and back finds everything as it was. One search runs at a time: a newer one ends it.
import {isEmpty} from "./conditions.js";
import {service} from "./service.js";
import {smaller} from "./shrink.js";
import {createStore} from "./store.js";

/** Products that are asked for at first, and at most. */
const FIRST = 24;
export const MOST = 1000;
const SETTLE_MS = 300;

const NOTHING = {
  photo: null, // {file, url, name}
  product: null, // searched for instead of a photo
  boxes: [], // {box: [left, top, right, bottom], found: bool, name, confidence}
  active: null, // the box that is searched for, by its place in `boxes`; null: the whole photo
  decided: false, // whether the reader has said what of the photo to search for; until then the service finds it
  detect: null, // whether items are to be found; null: the release decides
  positive: [],
  negative: [],
};
const UNASKED = {k: FIRST, answer: null, error: null, loading: false, far: false};

export const session = createStore({...NOTHING, ...UNASKED, filter: {}, place: null});

let running = new AbortController();
let settling = 0;

/** Whether there is anything to search for. */
export const hasQuery = ({photo, product, positive}) => Boolean(photo || product || positive.length);

/** Begin anew with a photo. */
export function searchPhoto(file) {
  begin({photo: {file, url: URL.createObjectURL(file), name: file.name}});
}

/** Begin anew with a product of the catalogue; `filter` narrows it, if it is given. */
export const searchProduct = (product, filter = session.get().filter) => begin({product, filter});

/** Back to where a photo is asked for. */
export const startOver = () => begin({});

/** Search for one of the boxes; null: for the whole photo. */
export const choose = (active) => change({active, decided: true});

/** Let the service find the items in the photo. */
export const findItems = () => change({active: null, decided: false, detect: true});

/** A box has been moved or drawn: it is searched for once it rests. */
export function placeBox(index, box) {
  const boxes = [...session.get().boxes];
  boxes[index] = {name: null, ...boxes[index], box, found: false};
  session.set({boxes, active: index, decided: true, far: false});
  soon();
}

/** Take a box away. */
export function removeBox(index) {
  const {boxes, active} = session.get();
  session.set({boxes: boxes.filter((_, at) => at !== index)});
  if (active === index) choose(null);
  else if (active > index) session.set({active: active - 1});
}

/** More like this (`kind` "positive") or not like it ("negative"). */
export function judge(kind, product) {
  const other = kind === "positive" ? "negative" : "positive";
  const without = (list) => list.filter((one) => one.product_id !== product.product_id);
  change({[kind]: [...without(session.get()[kind]), product], [other]: without(session.get()[other])});
}

/** Take such a wish back. */
export function forget(kind, id) {
  change({[kind]: session.get()[kind].filter((one) => one.product_id !== id)});
}

/** Narrow the search. */
export const narrow = (filter) => change({filter});

/** Ask for more products: twice as many. */
export const more = () => search(Math.min(MOST, session.get().k * 2));

function begin(query) {
  const {photo} = session.get();
  if (photo) URL.revokeObjectURL(photo.url);
  session.set({...NOTHING, ...UNASKED, place: null, ...query});
  search();
}

function change(what) {
  session.set({...what, far: false});
  search();
}

function soon() {
  clearTimeout(settling);
  settling = setTimeout(search, SETTLE_MS);
}

/** Search for what the session holds; what is under way is ended, and an answer that comes late is dropped. */
export async function search(k = FIRST) {
  clearTimeout(settling);
  running.abort();
  running = new AbortController();
  const {signal} = running;
  if (!hasQuery(session.get())) return session.set(UNASKED);
  session.set({loading: true, k});
  try {
    const answer = await ask(session.get(), signal);
    if (!signal.aborted) session.set({answer, error: null, loading: false, ...located(session.get(), answer)});
  } catch (error) {
    if (!signal.aborted) session.set({error, loading: false});
  }
}

async function ask(now, signal) {
  const ids = (list) => list.map((one) => one.product_id);
  const query = {k: now.k, positive: ids(now.positive), negative: ids(now.negative)};
  if (!isEmpty(now.filter)) query.filter = now.filter;
  const json = {...query, product_id: now.product?.product_id};
  if (!now.photo) return service.post("/v1/search", {json, signal, read: true});
  const box = now.boxes[now.active]?.box;
  const form = new FormData();
  form.append("image", await smaller(now.photo.file));
  form.append("k", now.k);
  if (query.filter) form.append("filter", JSON.stringify(query.filter));
  if (now.decided && box) form.append("box", box.map((one) => one.toFixed(4)).join(","));
  else if (now.decided || now.detect !== null) form.append("detect", now.decided ? false : now.detect);
  for (const kind of ["positive", "negative"]) for (const id of query[kind]) form.append(kind, id);
  return service.post("/v1/search", {form, signal, read: true});
}

/** The items that the service found become boxes; the first is what it searched for. */
function located({boxes, decided}, answer) {
  const items = answer.items || [];
  if (!items.length || decided) return {};
  const found = items.map(({box, category, confidence}) => ({box, name: category, confidence, found: true}));
  const drawn = boxes.filter((one) => !one.found);
  return {boxes: [...found, ...drawn], active: answer.located?.by === "detection" ? 0 : null};
}
