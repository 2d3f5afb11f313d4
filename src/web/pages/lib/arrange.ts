// Where the tiles of a stage lie. Pure: numbers in, rectangles out.

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

const ASPECT = 16 / 9;
/** A tile need not have its picture's shape: a little of the sides, or of top and bottom, may be cut to fill the stage. */
const NARROWEST = 5 / 4;
const WIDEST = 2;

/**
 * `count` tiles in an area of `width` by `height` pixels, `gap` between them. Without a focus all have one size, the
 * biggest that fits; with one (an index) that tile is large and the others stand in a strip beside or below it.
 */
export function arrange(count: number, focus: number | null, width: number, height: number, gap = 8): Rect[] {
  if (count <= 0 || width <= 0 || height <= 0) return [];
  if (count === 1) return [{ x: 0, y: 0, width, height }];
  if (focus === null || focus < 0 || focus >= count) return grid(count, 0, 0, width, height, gap);
  const others = count - 1;
  // The strip stands where it takes least from the large one.
  const beside = width / height > 1.2;
  const strip = beside ? Math.min(width * 0.24, (height * ASPECT) / 2.5) : Math.min(height * 0.3, width / ASPECT / 1.6);
  const large: Rect = beside ? { x: 0, y: 0, width: width - strip - gap, height } : { x: 0, y: 0, width, height: height - strip - gap };
  const small = beside ? grid(others, width - strip, 0, strip, height, gap) : grid(others, 0, height - strip, width, strip, gap);
  return [...small.slice(0, focus), large, ...small.slice(focus)];
}

/** Rows of equal tiles, centred; a last row that is not full is centred too. */
function grid(count: number, left: number, top: number, width: number, height: number, gap: number): Rect[] {
  let best = { columns: 1, wide: 0, tall: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const room = { wide: (width - gap * (columns - 1)) / columns, tall: (height - gap * (rows - 1)) / rows };
    const wide = Math.min(room.wide, room.tall * WIDEST);
    const tall = Math.min(room.tall, wide / NARROWEST);
    // What counts is how big the picture's middle is, which is what there is of a face.
    if (Math.min(wide, tall * ASPECT) > Math.min(best.wide, best.tall * ASPECT)) best = { columns, wide, tall };
  }
  const { columns, wide, tall } = best;
  const rows = Math.ceil(count / columns);
  const above = top + (height - rows * tall - gap * (rows - 1)) / 2;
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / columns);
    const inRow = Math.min(columns, count - row * columns);
    const aside = left + (width - inRow * wide - gap * (inRow - 1)) / 2;
    return { x: aside + (i % columns) * (wide + gap), y: above + row * (tall + gap), width: wide, height: tall };
  });
}
