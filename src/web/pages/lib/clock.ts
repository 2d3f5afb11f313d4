// What time it is on the box. The picture's times are the box's (EXT-X-PROGRAM-DATE-TIME); a tablet's clock may be
// minutes off. HTTP's Date header has whole seconds, but each answer narrows the offset to an interval, and questions
// asked at well chosen moments halve it each time: five or six of them know it to a few hundredths of a second.

export class BoxClock {
  /** The offset (box minus here, ms) lies in between. */
  #low = -Infinity;
  #high = Infinity;

  /**
   * One answer: `date` as in its header; `asked` and `answered` are the local clock (ms) around it. An answer out of a
   * cache is older than it says, and is not taken (`age`: its Age header).
   */
  heard(date: string | null, asked: number, answered: number, age: string | null = null): void {
    const stamped = date === null ? NaN : Date.parse(date);
    if (Number.isNaN(stamped) || answered < asked || (age !== null && Number(age) > 0)) return;
    // The box wrote `stamped` at some moment between asked and answered, and cut off less than a second.
    const low = stamped - answered;
    const high = stamped + 1000 - asked;
    if (low > this.#high || high < this.#low) {
      // A clock was set meanwhile: what was known is no longer so.
      this.#low = low;
      this.#high = high;
      return;
    }
    this.#low = Math.max(this.#low, low);
    this.#high = Math.min(this.#high, high);
  }

  /** The box's clock at local time `now`, ms; null while it is not known to a tenth of a second. */
  at(now: number): number | null {
    return this.within <= 100 ? now + (this.#low + this.#high) / 2 : null;
  }

  /**
   * How long after `now` (ms, local) a question teaches most: when the middle of what the offset may be would have the
   * box's clock strike a full second. Whichever second the answer then names, half of the interval is out. 0 while
   * nothing is known.
   */
  ask(now: number): number {
    if (!Number.isFinite(this.#low + this.#high)) return 0;
    const box = now + (this.#low + this.#high) / 2;
    return 1000 - (((box % 1000) + 1000) % 1000);
  }

  /** How wrong `at` may be, ms. */
  get within(): number {
    return (this.#high - this.#low) / 2;
  }
}
