// Whether the service can be reached. It is lost when the browser says so or a request finds nobody; from then on the
// service is asked every two seconds whether it lives, and all that waits for it goes on when it answers.
import {createStore, useStore} from "./store.js";

const ASK_AGAIN_MS = 2000;

/** {online, back}: `back` counts how often the connection came back. */
export const connection = createStore({online: navigator.onLine, back: 0});

/** Online or not, and how often the connection came back. */
export const useConnection = () => useStore(connection);

/** Say that a request found nobody. */
export function lost() {
  if (!connection.get().online) return;
  connection.set({online: false});
  setTimeout(look, ASK_AGAIN_MS);
}

function found() {
  const {online, back} = connection.get();
  if (!online) connection.set({online: true, back: back + 1});
}

async function look() {
  if (connection.get().online) return;
  if (!navigator.onLine || document.hidden) return setTimeout(look, ASK_AGAIN_MS);
  try {
    await (await fetch("/livez", {cache: "no-store"})).text();
    found();
  } catch {
    setTimeout(look, ASK_AGAIN_MS);
  }
}

addEventListener("offline", lost);
addEventListener("online", look);
