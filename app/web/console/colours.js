// One colour for each class, the same in the picture and in the list beside it.

const GOLDEN_ANGLE = 137.508; // degrees: neighbouring classes get colours far apart

/** Return [red, green, blue] of a class. */
export function colourOf(classId) {
  const hue = (((classId ?? 0) * GOLDEN_ANGLE) % 360) / 30;
  const channel = (shift) => {
    const place = (shift + hue) % 12;
    return Math.round(255 * (0.5 - 0.45 * Math.max(-1, Math.min(place - 3, 9 - place, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

/** Write a colour for CSS. */
export function css([red, green, blue], alpha = 1) {
  return `rgb(${red} ${green} ${blue} / ${alpha})`;
}

/** Return black or white, whichever can be read on the colour. */
export function inkOn([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff";
}
