// A viewer's way to the stage and back, as states. Pure: what the box and the reader say goes in, what follows comes out.
//
//   audience -> hand -> called -> checking -> joining -> stage -> audience
//
// What the box tells may be a second or two old (it comes through caches): an answer is never undone by an older one.
import type { Stage } from "../lib/stage";

export type Where = "audience" | "hand" | "called" | "checking" | "joining" | "stage";

/** What is told to the reader, once. */
export type News = "called" | "withdrawn" | "dismissed" | "muted" | "unmuted" | "gone" | "over";

export interface Way {
  where: Where;
  /** The box's public name for this reader, once it has one. */
  me: string | null;
  /** Since when (ms) `where` is so. */
  since: number;
  /** The roster has named this reader since they went on stage: from then on, its silence means something. */
  seen: boolean;
  muted: boolean;
  /** An invitation was declined at that time: the one that is still in older answers is not a new one. */
  declined: number | null;
}

export const START: Way = { where: "audience", me: null, since: 0, seen: false, muted: false, declined: null };

/** Older than this an answer of the box cannot be, ms. */
const STALE = 5000;
/** How often one whose hand is up asks whether it still is, ms. */
const LONG = 15_000;

/** The box's answer, heard at `now` (ms). */
export function hear(way: Way, stage: Stage, now: number): { way: Way; news: News | null; doubt: boolean } {
  const same = { way, news: null, doubt: false };
  const { me } = way;
  if (me === null) return same;
  const to = (where: Where, more: Partial<Way> = {}): Way => ({ ...way, where, since: now, seen: false, ...more });
  const invited = stage.invited.includes(me);
  const person = stage.people.find(({ id }) => id === me);
  switch (way.where) {
    case "audience":
    case "hand":
      if (invited && (way.declined === null || now - way.declined > STALE)) return { way: to("called", { declined: null }), news: "called", doubt: false };
      if (!invited && way.declined !== null) return { ...same, way: { ...way, declined: null } };
      // The teacher may have lowered the hand. The small answer does not name hands: whoever waits long, asks.
      return { ...same, doubt: way.where === "hand" && now - way.since > (stage.hands === 0 ? STALE : LONG) };
    case "called":
    case "checking":
      if (!invited && now - way.since > 1500) return { way: to("hand"), news: "withdrawn", doubt: false };
      return same;
    case "joining":
      return same;
    case "stage": {
      if (!person) return { ...same, doubt: way.seen || now - way.since > 2 * STALE };
      const next = { ...way, seen: true, muted: person.muted };
      return { way: next, news: person.muted === way.muted ? null : person.muted ? "muted" : "unmuted", doubt: false };
    }
  }
}

/** The reader, or this page for them, went to another state. */
export function go(way: Way, where: Where, now: number, more: Partial<Way> = {}): Way {
  return { ...way, where, since: now, seen: false, muted: false, ...more };
}
