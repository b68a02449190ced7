// What the page takes from Preact and htm, by one name, so that no other module knows where they lie.
import {Component, Fragment, h, render} from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export {Component, Fragment, h, render};
export {useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState} from "./vendor/hooks.js";

/** Markup as a template: html`<p>${text}</p>`. */
export const html = htm.bind(h);
