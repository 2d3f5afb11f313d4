// `window.__proscenium`: what this page knows about its own playing, for tests and for whoever debugs a classroom.
// A diagnostic interface, for reading: fields may be added, and none changes its meaning within a version.

export interface Figures {
  readonly version: 1;
  readonly room: string | null;
  /** asking, waiting, joining, playing, stage, reconnecting, ended, away, refused, unsupported */
  readonly phase: string;
  /** audience, hand, called, checking, joining, stage */
  readonly where: string;
  /** On stage, and the box's roster says so. */
  readonly onRoster: boolean;
  /** The id of the class that plays, as in media URLs. */
  readonly session: string | null;
  /** Seconds between the live edge, as the playlists show it, and the picture; null while nothing plays. */
  readonly latency: number | null;
  /** Seconds between a picture's time on the room's timeline (PROGRAM-DATE-TIME) and its display; null until the box's clock is known. */
  readonly behindRoom: number | null;
  /** Seconds of latency aimed at. */
  readonly target: number | null;
  /** Seconds buffered ahead. */
  readonly buffer: number;
  readonly rate: number;
  readonly time: number;
  readonly level: { readonly label: string; readonly codec: string; readonly width: number; readonly height: number; readonly bitrate: number } | null;
  readonly levels: readonly string[];
  readonly auto: boolean;
  /** Bits a second, as measured. */
  readonly bandwidth: number | null;
  /** Times the picture stopped for lack of media, after it had begun; and for how long in all, ms. */
  readonly stalls: number;
  readonly stalledMs: number;
  /** Times the player was built anew after having played. */
  readonly recoveries: number;
  /** Jumps to the live edge. */
  readonly jumps: number;
  readonly frames: { readonly shown: number; readonly dropped: number };
  /** Events of the player, newest last, 50 at most. `fatal` ones made it start anew. */
  readonly errors: readonly { readonly at: number; readonly details: string; readonly fatal: boolean; readonly words: string }[];
}

declare global {
  interface Window {
    __proscenium?: Figures;
  }
}
