// hls.js's choice of rungs, with two rules of ours over it: what is wanted (by hand, or which codec) comes from
// outside, and a change waits for a key frame (lib/cut.ts). hls.js alone changes rungs wherever it happens to be, which
// at the live edge costs a stall of two or three seconds as often as not.
import { AbrController, type MediaFragment } from "hls.js";
import { isCut } from "../lib/cut";

export interface Wishes {
  /** Which level to play, given hls.js's own choice. */
  wanted(own: number): number;
  /** Whether a level gives nothing any more: then it is left at once. */
  dead(level: number): boolean;
}

/** A wish that found no key frame for so long, ms, is granted anywhere: something is odd with this stream. */
const PATIENCE = 6000;
/** Less buffered than this, seconds: the change may save what a stall would cost anyway. */
const DRY = 0.15;

/** The class that hls.js is to construct. */
export function steady(wishes: Wishes): typeof AbrController {
  return class extends AbrController {
    #forced = -1;
    #waiting: { level: number; since: number } | null = null;

    override get nextAutoLevel(): number {
      if (!this.hls) return -1;
      const now = this.hls.loadLevel;
      if (this.#forced >= 0) {
        const forced = this.#forced;
        this.#forced = -1;
        return forced;
      }
      const wanted = wishes.wanted(super.nextAutoLevel);
      if (wanted === now || now < 0 || wanted < 0 || wishes.dead(now)) {
        this.#waiting = null;
        return wanted;
      }
      const clock = performance.now();
      if (this.#waiting?.level !== wanted) this.#waiting = { level: wanted, since: clock };
      if (clock - this.#waiting.since > PATIENCE || this.#clean()) {
        this.#waiting = null;
        return wanted;
      }
      return now;
    }

    /** hls.js sets what it just read, tick by tick, and would then hold on to it: that is no news. What it sets
     *  otherwise is its answer to an error, and goes before all wishes. */
    override set nextAutoLevel(level: number) {
      if (this.hls && level === this.hls.loadLevel) return;
      this.#forced = level;
      super.nextAutoLevel = level;
    }

    #clean(): boolean {
      const { hls } = this;
      const details = hls.levels[hls.loadLevel]?.details;
      const ahead = hls.mainForwardBufferInfo;
      if (!details || !ahead || ahead.len < DRY) return true;
      // Key frames within a segment would do, but hls.js loses its place in a segment that it entered in the middle.
      const parts = (details.partList ?? []).filter((part) => part.index === 0);
      const whole = details.fragments.map(({ start, duration }: MediaFragment) => ({ start, duration, independent: true }));
      return isCut([...parts, ...whole], ahead.end);
    }
  };
}
