// The few signs that the pages draw, as strokes in a square of 24.

const PATHS = {
  hand: "M7 12V6.5a1.5 1.5 0 0 1 3 0V11m0-1V4.5a1.5 1.5 0 0 1 3 0V11m0-5a1.5 1.5 0 0 1 3 0v6m0-3.500a1.500 1.500 0 0 1 3 0V15a6.500 6.500 0 0 1-6.500 6.500h-.8a6 6 0 0 1-4.700-2.300L4.200 14.600a1.600 1.600 0 0 1 2.500-2L7 13",
  chat: "M4 5h16v11H11l-5 4v-4H4z",
  mic: "M12 3.500a2.500 2.500 0 0 1 2.500 2.500v5a2.500 2.500 0 0 1-5 0V6A2.500 2.500 0 0 1 12 3.500zM5.500 11a6.500 6.500 0 0 0 13 0M12 17.500v3",
  "mic-off": "M9.500 9.500V11a2.500 2.500 0 0 0 4.200 1.800M14.500 9V6a2.500 2.500 0 0 0-4.900-.7M5.500 11a6.500 6.500 0 0 0 10 5.500M18.500 11a6.500 6.500 0 0 1-.7 2.900M12 17.500v3M4 4l16 16",
  camera: "M3.500 7h11v10h-11zM14.500 11l6-3.500v9l-6-3.500",
  screen: "M3.500 5h17v11.500h-17zM9 20h6M12 16.500V20",
  pin: "M9 4h6l-.7 6 3.200 3.500h-11L9.700 10zM12 13.500V20",
  leave: "M10 4.500H5v15h5M10 12h10m-4-4 4 4-4 4",
  close: "M6 6l12 12M18 6L6 18",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l1 12.500h8L17 7M10.500 11v5M13.500 11v5",
  lock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
  send: "M4 12l16-7-5 15-3.500-6zM11.500 14L20 5",
} as const;

export type Icon = keyof typeof PATHS;

/** Decoration: what it means is said by the text or label beside it. */
export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
