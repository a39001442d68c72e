// PNG files inside answers: bytes from base64, the palette, the pixels.

/** Return the bytes of base64 text. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Return the palette of a PNG as [red, green, blue] by index; empty where it has none. */
export function paletteOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // After the signature: length, type, content and checksum of each chunk.
  for (let at = 8; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "PLTE") {
      const content = bytes.subarray(at + 8, at + 8 + length);
      return Array.from({ length: length / 3 }, (_, index) => [...content.subarray(3 * index, 3 * index + 3)]);
    }
    at += 12 + length;
  }
  return [];
}

/** Resolve with the PNG as an ImageBitmap, its colours as they are in the file. */
export function opened(bytes) {
  return createImageBitmap(new Blob([bytes], { type: "image/png" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
}

/** Return a canvas of that size with the bitmap in it, each pixel changed by `paint`.
 *
 * Pixels are numbers as `pixel` makes them; the size on the screen is a fraction of a photo's.
 */
export function repainted(bitmap, width, height, paint) {
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false; // ids and masks have no values between
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < pixels.length; at += 1) pixels[at] = paint(pixels[at]);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Return a colour as the number that a canvas holds for an opaque pixel of it. */
export function pixel([red, green, blue]) {
  return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
}
