// Reads the burnt-in clock of the synthetic class from pixels. The format is described in src/teacher/burnt.rs; this
// is a second reader of it, written from that description alone.

export const COLUMNS = 40;
/** The clock's rows as shares of the picture's height: each [from, to] in 45ths. */
export const ROWS = [[40, 42], [42, 44]];
const SYNC = [0b1010, 0b0101];

function crc(frame, wall) {
  let value = 0xff;
  for (const word of [frame, wall]) {
    for (let shift = 24; shift >= 0; shift -= 8) {
      value ^= (word >>> shift) & 0xff;
      for (let bit = 0; bit < 8; bit++) value = value & 0x80 ? ((value << 1) ^ 0x07) & 0xff : (value << 1) & 0xff;
    }
  }
  return value;
}

/**
 * The clock in a strip of RGBA pixels that holds its two rows and nothing else (the picture from 40/45 to 44/45 of its
 * height, at any size). `{ frame, wall }`, wall in ms modulo 2^32; null where it cannot be read.
 */
export function read(data, width, height) {
  const luma = [0, 1].map((row) =>
    Array.from({ length: COLUMNS }, (_, column) => {
      // The middle half of each block in both directions.
      const [left, right] = [(column + 0.25) * width / COLUMNS, (column + 0.75) * width / COLUMNS].map(Math.floor);
      const [top, bottom] = [(row + 0.25) * height / 2, (row + 0.75) * height / 2].map(Math.floor);
      let sum = 0;
      let count = 0;
      for (let y = top; y < Math.max(bottom, top + 1); y++) {
        for (let x = left; x < Math.max(right, left + 1); x++, count++) sum += data[4 * (y * width + x) + 1];
      }
      return sum / count;
    }),
  );
  let white = 0;
  let black = 0;
  const sync = (row, column) => (SYNC[row] >> (3 - column)) & 1;
  for (const row of [0, 1]) for (let c = 0; c < 4; c++) sync(row, c) ? (white += luma[row][c] / 4) : (black += luma[row][c] / 4);
  if (white - black < 40) return null;
  const middle = (white + black) / 2;
  const bit = (row, column) => (luma[row][column] > middle ? 1 : 0);
  for (const row of [0, 1]) for (let c = 0; c < 4; c++) if (bit(row, c) !== sync(row, c)) return null;
  const word = (row, from, length) => {
    let value = 0;
    for (let c = from; c < from + length; c++) value = value * 2 + bit(row, c);
    return value;
  };
  const [frame, wall] = [word(0, 4, 32), word(1, 4, 32)];
  if (crc(frame, wall) !== word(0, 36, 4) * 16 + word(1, 36, 4)) return null;
  return { frame, wall };
}

/** Draws a clock as `read` wants it: for its tests. */
export function draw(frame, wall, width, height) {
  const check = crc(frame, wall);
  const bits = [
    [SYNC[0], 4], [frame, 32], [check >> 4, 4],
    [SYNC[1], 4], [wall, 32], [check & 15, 4],
  ].map(([value, length]) => value.toString(2).padStart(length, "0")).join("");
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = Math.floor((x * COLUMNS) / width);
      const row = Math.floor((y * 2) / height);
      data.fill(bits[row * COLUMNS + column] === "1" ? 235 : 16, 4 * (y * width + x), 4 * (y * width + x) + 3);
    }
  }
  return data;
}

/** ms since the epoch behind a clock's low 32 bits, given a time within 24 days of it. */
export const resolve = (wall, near) => near + ((wall - (near % 2 ** 32)) | 0);
