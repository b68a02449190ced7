// What can be done to releases. The service answers at once; how it goes on is then asked for, and shown.
import {service} from "./service.js";
import {useAction} from "./acting.js";

const AT_ONCE = {wait_s: 0};
const path = (release, what) => `/v1/releases/${encodeURIComponent(release)}/${what}`;

/**
 * The actions, each as `useAction` has it; they need a key with the scope admin.
 * @param {function(): void} again called after each, to ask how the service stands now
 */
export function useSwitches(again) {
  const told = (ask) => async (...args) => {
    const answer = await ask(...args);
    again();
    return answer;
  };
  return {
    promote: useAction(told((id, force) => service.post(path(id, "promote"), {query: {...AT_ONCE, force}}))),
    rollback: useAction(told(() => service.post("/v1/releases/rollback", {query: AT_ONCE}))),
    preview: useAction(told((id) => service.post(path(id, "preview"), {query: AT_ONCE}))),
    end: useAction(told(() => service.remove("/v1/releases/preview"))),
  };
}
