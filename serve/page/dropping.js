// Pictures from the computer for a view that takes them: chosen or pasted, or dropped anywhere on the page. `intake.js`
// is its like for a shopper's photo.
import {html, useEffect, useState} from "./vendor.js";

/**
 * A field for pictures; a view has one at most.
 * @param {{label: string, hint?: string, multiple?: boolean, onFiles: function(File[]): void, children?: *}} props
 *   `label` names the field; `children` are shown in place of the invitation once there is a picture
 */
export function Drop({label, hint, multiple = false, onFiles, children}) {
  const [over, setOver] = useState(false);
  const take = (list) => {
    const pictures = [...(list || [])].filter((file) => file.type.startsWith("image/"));
    if (pictures.length) onFiles(multiple ? pictures : pictures.slice(0, 1));
    return pictures.length > 0;
  };
  useEffect(() => {
    const over = (event) => event.dataTransfer?.types.includes("Files") && (event.preventDefault(), setOver(true));
    const out = (event) => event.relatedTarget || setOver(false);
    const drop = (event) => (setOver(false), event.preventDefault(), take(event.dataTransfer?.files));
    const paste = (event) => take(event.clipboardData?.files) && event.preventDefault();
    const listeners = {dragover: over, dragleave: out, drop, paste};
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => Object.entries(listeners).forEach(([name, listener]) => removeEventListener(name, listener));
  }, [onFiles]);
  const choose = (event) => (take(event.target.files), (event.target.value = ""));
  return html`<label class="dropzone ${over ? "over" : ""}">
    <input class="visually-hidden" type="file" accept="image/*" multiple=${multiple} onChange=${choose} />
    ${children}
    <span class="dropzone-words"><strong>${label}</strong>${hint && html`<span class="muted">${hint}</span>`}</span>
  </label>`;
}

/** A file's picture. */
export function FilePicture({file, alt = ""}) {
  const [source, setSource] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(file);
    setSource(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return source && html`<img src=${source} alt=${alt} />`;
}
