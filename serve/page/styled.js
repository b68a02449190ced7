// A view's own stylesheet, loaded with its module.

/** Settles when the stylesheet is there, or can't be loaded: a view is usable without it. */
export function styled(name) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL(name, import.meta.url).href;
  document.head.append(link);
  return new Promise((settled) => (link.onload = link.onerror = settled));
}
