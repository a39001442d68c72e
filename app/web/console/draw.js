// The answer drawn on the picture.

import { colourOf, css, inkOn } from "./colours.js";
import { bytesOf, opened, paletteOf, pixel, repainted } from "./png.js";
import { SKELETON } from "./skeleton.js";

const LARGEST = 1280; // pixels of the longer side, on screen
const SMALLEST = 320; // a tiny picture is enlarged, so that lines and letters keep their size
const VEIL = 0.55;
const BACKGROUND = "__background__";

/** Draw on a canvas; `picture` is an ImageBitmap, or null where the browser cannot read the file. */
export async function draw(canvas, picture, found) {
  const width = found.width || picture?.width || SMALLEST;
  const height = found.height || picture?.height || SMALLEST;
  const longer = Math.max(width, height);
  const scale = Math.min(Math.max(longer, SMALLEST), LARGEST) / longer;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = scale < 2;
  context.fillStyle = "#888";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false; // class maps and masks have hard edges
  const sheet = { context, scale, width, height, line: Math.max(2, longer * scale / 320) };
  if (found.kind === "digit") badge(sheet, String(found.digit), 0, 0, [11, 87, 208], canvas.height / 5);
  if (found.kind === "segmentation") await segmentation(sheet, found);
  if (found.kind === "regions") await regions(sheet, found.regions);
}

async function segmentation(sheet, { png, classes }) {
  const bytes = bytesOf(png);
  const background = classes.find((entry) => entry.label === BACKGROUND);
  const colour = background && paletteOf(bytes)[background.class_id];
  const clear = colour && pixel(colour);
  const map = await opened(bytes);
  veil(sheet, map, [0, 0, sheet.width, sheet.height], (value) => (value === clear ? 0 : value));
}

/** Lay a bitmap over a part of the picture. */
function veil({ context, scale }, bitmap, [x1, y1, x2, y2], paint) {
  const [width, height] = [(x2 - x1) * scale, (y2 - y1) * scale];
  context.globalAlpha = VEIL;
  context.drawImage(repainted(bitmap, width, height, paint), x1 * scale, y1 * scale, width, height);
  context.globalAlpha = 1;
  bitmap.close();
}

async function regions(sheet, list) {
  for (const region of list) if (region.mask?.png) await mask(sheet, region);
  for (const region of list) outline(sheet, region);
  for (const region of list) keypoints(sheet, region);
  // Last and in reverse, so that nothing covers the name of the likeliest.
  for (const region of list.toReversed()) name(sheet, region);
}

/** Lay a mask over the picture: a PNG that is white where the object is, and where its corner lies. */
async function mask(sheet, { mask: { png, left, top }, class_id: id }) {
  const map = await opened(bytesOf(png));
  const [white, colour] = [pixel([255, 255, 255]), pixel(colourOf(id))];
  const place = [left, top, left + map.width, top + map.height];
  veil(sheet, map, place, (value) => (value === white ? colour : 0));
}

function outline({ context, scale, line }, { box, polygon, class_id: id }) {
  context.strokeStyle = css(colourOf(id));
  context.fillStyle = css(colourOf(id), 0.2);
  context.lineWidth = line;
  if (!polygon?.length) {
    const [x1, y1, x2, y2] = box;
    context.strokeRect(x1 * scale, y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale);
    return;
  }
  context.beginPath();
  for (const [x, y] of polygon) context.lineTo(x * scale, y * scale);
  context.closePath();
  context.fill();
  context.stroke();
}

function keypoints({ context, scale, line }, { keypoints: points = [], class_id: id }) {
  const places = new Map(points.map((point) => [point.name, point]));
  context.strokeStyle = css(colourOf(id));
  context.lineWidth = line;
  context.beginPath();
  for (const [from, to] of SKELETON) {
    const [a, b] = [places.get(from), places.get(to)];
    if (!a || !b) continue;
    context.moveTo(a.x * scale, a.y * scale);
    context.lineTo(b.x * scale, b.y * scale);
  }
  context.stroke();
  context.fillStyle = "#fff";
  for (const { x, y } of points) {
    context.beginPath();
    context.arc(x * scale, y * scale, 1.5 * line, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

function name(sheet, { label, score, order, box, class_id: id }) {
  const words = [order, label, score === undefined ? "" : score.toFixed(2)];
  const text = words.filter((word) => word !== undefined && word !== "").join(" ");
  badge(sheet, text, box[0] * sheet.scale, box[1] * sheet.scale, colourOf(id), 7 * sheet.line);
}

/** Write on a patch of colour, moved so that it stays within the picture. */
function badge({ context }, text, x, y, colour, size) {
  const { canvas } = context;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const [width, height] = [context.measureText(text).width + 0.6 * size, 1.3 * size];
  const left = Math.max(0, Math.min(x, canvas.width - width));
  const top = Math.max(0, Math.min(y, canvas.height - height));
  context.fillStyle = css(colour);
  context.fillRect(left, top, width, height);
  context.fillStyle = inkOn(colour);
  context.textBaseline = "middle";
  context.fillText(text, left + 0.3 * size, top + height / 2);
}
