// Which keypoints of a person are joined, by COCO's names.

const sides = ["left", "right"].flatMap((side) => [
  ["nose", `${side}_eye`],
  [`${side}_eye`, `${side}_ear`],
  [`${side}_shoulder`, `${side}_elbow`],
  [`${side}_elbow`, `${side}_wrist`],
  [`${side}_shoulder`, `${side}_hip`],
  [`${side}_hip`, `${side}_knee`],
  [`${side}_knee`, `${side}_ankle`],
]);

export const SKELETON = [...sides, ["left_shoulder", "right_shoulder"], ["left_hip", "right_hip"]];
