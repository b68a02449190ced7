// Photos above what is worth sending are made smaller in the browser before they are.
const LARGE_BYTES = 4e6;
const LONGEST_PX = 2048;

/** The photo, or a smaller JPEG of it if it is large; as it came if the browser can't read it: the service says why. */
export async function smaller(file) {
  if (file.size <= LARGE_BYTES) return file;
  try {
    const image = await createImageBitmap(file);
    const share = Math.min(1, LONGEST_PX / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(image.width * share);
    canvas.height = Math.round(image.height * share);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    image.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    return blob && blob.size < file.size ? new File([blob], "photo.jpg", {type: "image/jpeg"}) : file;
  } catch {
    return file;
  }
}
