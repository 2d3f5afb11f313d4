// Where one may change rungs. Pure.
//
// A viewer near the edge has a second of media, key frames come every two. A rung that is entered between them has
// nothing to show until its next one: its earlier key frame lies under what is being played, and what was buffered of
// the old rung ends before. So the change waits for the part that begins with a key frame, and nobody sees it.

export interface Piece {
  start: number;
  duration: number;
  /** Begins with a key frame. A whole segment always does. */
  independent: boolean;
}

/** Media is to be loaded from `end` on, of these `pieces`: whether another rung can begin there. */
export function isCut(pieces: readonly Piece[], end: number): boolean {
  const next = pieces.find((piece) => Math.abs(piece.start - end) < Math.min(0.1, piece.duration / 2));
  return next?.independent === true;
}
