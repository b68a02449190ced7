// A product's picture at the size it is shown in. Where reading needs a key, an <img> can't send it: the picture is
// then fetched once it comes near the screen, and shown from memory.
import {html, useEffect, useRef, useState} from "./vendor.js";
import {usePictureKey} from "./key.js";
import {address, service} from "./service.js";

/** A product's picture; `size` is 160, 320 or 640 (none: the original), `alt` its words. */
export function Picture({product, size, alt = "", class: name = ""}) {
  const key = usePictureKey();
  const [failed, setFailed] = useState("");
  const url = product.image_url;
  const shared = {alt, class: name, onError: () => setFailed(url)};
  if (!url || failed === url) return html`<span class="picture-missing ${name}">No picture</span>`;
  if (key) return html`<${Fetched} key=${url} url=${address(url, {size})} ...${shared} />`;
  const twice = {160: 320, 320: 640}[size];
  const srcset = twice && `${address(url, {size})} 1x, ${address(url, {size: twice})} 2x`;
  return html`<img ...${shared} loading="lazy" decoding="async" srcset=${srcset} src=${address(url, {size})} />`;
}

function Fetched({url, onError, ...shared}) {
  const [source, setSource] = useState("");
  const place = useRef();
  useEffect(() => {
    let made = "";
    const controller = new AbortController();
    const fetched = async () => {
      made = URL.createObjectURL(await service.blob(url, {signal: controller.signal}));
      setSource(made);
    };
    const watcher = new IntersectionObserver(
      ([seen]) => {
        if (!seen.isIntersecting) return;
        watcher.disconnect();
        fetched().catch((error) => error.name !== "AbortError" && onError());
      },
      {rootMargin: "400px"},
    );
    watcher.observe(place.current);
    return () => (watcher.disconnect(), controller.abort(), URL.revokeObjectURL(made));
  }, [url]);
  return html`<img ...${shared} ref=${place} src=${source || undefined} onError=${source ? onError : undefined} />`;
}
