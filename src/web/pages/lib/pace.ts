// How fast to play, so that the delay stays what it should be. Pure: figures in, a decision out.
//
// hls.js has a catch-up of its own; it needs more than a second of buffer, which a viewer one second behind the edge
// never has, and it never slows down. This one is gentle enough not to be heard (5 % at most, pitch kept by the
// browser), slows down a little before the buffer runs dry instead of stopping, and jumps where running would take
// too long.

export interface Situation {
  /** Seconds between the live edge and what is shown. */
  latency: number;
  /** Seconds it should be. */
  target: number;
  /** Seconds that are buffered ahead of what is shown. */
  buffer: number;
  /** The rate now. */
  rate: number;
  /** The reader paused, and is behind by their own choice. */
  byChoice: boolean;
}

export type Decision = { jump: true } | { jump: false; rate: number };

export const FASTEST = 1.05;
export const SLOWEST = 0.95;
/** Behind by more than this, running at 5 % would take over a minute. */
const JUMP = 3;
/** Catching up begins at the first and ends at the second: between them the rate is left alone, or it would flutter. */
const BEGIN = 0.15;
const END = 0.03;
/** Less buffered than this, and the next late part is a stall. */
const THIN = 0.25;
const THICK = 0.5;

export function pace({ latency, target, buffer, rate, byChoice }: Situation): Decision {
  const behind = latency - target;
  if (![latency, target, buffer].every(Number.isFinite)) return { jump: false, rate: 1 };
  if (byChoice) return { jump: false, rate: 1 };
  if (behind > JUMP) return { jump: true };

  const running = rate > 1;
  const dragging = rate < 1;
  if (buffer < THIN || (dragging && buffer < THICK && behind < BEGIN)) {
    // Further back than the target is no help against a network that is too slow: then a lower rung must come.
    return { jump: false, rate: behind < 1 ? SLOWEST : 1 };
  }
  if (behind > (running ? END : BEGIN) && buffer > THICK) {
    return { jump: false, rate: Math.min(FASTEST, Math.round((1 + Math.max(0.02, behind * 0.12)) * 100) / 100) };
  }
  if (behind < (dragging ? -END : -2 * BEGIN)) return { jump: false, rate: 0.97 };
  return { jump: false, rate: 1 };
}

/** The delay to aim at: what the playlist asks for, and a part more for every stall, forgiven one a minute. */
export class Target {
  #stalls = 0;
  #since = 0;

  /** `now` and times in ms. */
  stalled(now: number): void {
    this.#settle(now);
    this.#stalls = Math.min(this.#stalls + 1, 6);
    this.#since = now;
  }

  /** Seconds. `holdBack` and `part` as the playlist says them. */
  seconds(now: number, holdBack: number, part: number): number {
    this.#settle(now);
    return holdBack + this.#stalls * part;
  }

  #settle(now: number): void {
    const minutes = Math.floor((now - this.#since) / 60_000);
    if (minutes > 0) {
      this.#stalls = Math.max(0, this.#stalls - minutes);
      this.#since += minutes * 60_000;
    }
  }
}
