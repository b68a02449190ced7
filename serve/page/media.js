// What kind of screen the page is on, as its styles ask it too.
import {useEffect, useRef, useState} from "./vendor.js";

/** Whether a media query matches; the component is drawn again when that changes. */
export function useMedia(query) {
  const asked = useRef();
  asked.current ??= matchMedia(query);
  const [matches, setMatches] = useState(asked.current.matches);
  useEffect(() => {
    const changed = () => setMatches(asked.current.matches);
    asked.current.addEventListener("change", changed);
    return () => asked.current.removeEventListener("change", changed);
  }, []);
  return matches;
}
