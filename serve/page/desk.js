// The stylesheet of the views for those who run the service: whoever imports this waits until it is there, so that no
// such view is ever seen without it.

await new Promise((settled) => {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("desk.css", import.meta.url).href;
  link.onload = settled;
  link.onerror = settled; // the view is usable without it
  document.head.append(link);
});
