// The stage as the box tells it, and how often to ask. Pure: `lib/control.ts` asks and acts.

export const LAYOUTS = ["auto", "speaker", "grid", "screen", "single"] as const;
export type Layout = (typeof LAYOUTS)[number];

export interface Person {
  id: string;
  name: string;
  role: "teacher" | "speaker";
  camera: boolean;
  screen: boolean;
  muted: boolean;
}

/** What `GET /api/v1/rooms/{room}/stage` says. */
export interface Stage {
  version: number;
  live: boolean;
  locked: boolean;
  layout: Layout;
  pinned: string | null;
  speaker: string | null;
  people: Person[];
  invited: string[];
  hands: number;
  chat: { last: number; slow: number; open: boolean };
}

/** One in the teacher's queue. */
export interface Hand {
  id: string;
  name: string;
  /** When it was raised, ms since 1970 by the box's clock. */
  since: number | null;
  invited: boolean;
}

/** Who this page's token is. */
export interface Me {
  id: string;
  name: string;
  role: "teacher" | "speaker" | "viewer" | "admin";
  state: "audience" | "hand" | "invited" | "stage";
  muted: boolean;
}

type Fields = Record<string, unknown>;
const fields = (value: unknown): Fields | null => (typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const id = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
const count = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0);

/** A stage from an answer's JSON; null where it is none. What is missing has the value of an empty stage. */
export function readStage(value: unknown): Stage | null {
  const from = fields(value);
  if (!from || typeof from["version"] !== "number") return null;
  const chat = fields(from["chat"]) ?? {};
  const layout = LAYOUTS.find((one) => one === from["layout"]) ?? "auto";
  return {
    version: from["version"],
    live: from["live"] === true,
    locked: from["locked"] === true,
    layout,
    pinned: id(from["pinned"]),
    speaker: id(from["speaker"]),
    people: list(from["people"]).flatMap((one): Person[] => {
      const person = fields(one);
      const who = id(person?.["id"]);
      if (!person || !who) return [];
      const role = person["role"] === "teacher" ? "teacher" : "speaker";
      return [{ id: who, name: text(person["name"]), role, camera: person["camera"] === true, screen: person["screen"] === true, muted: person["muted"] === true }];
    }),
    invited: list(from["invited"]).flatMap((one) => id(one) ?? []),
    hands: count(from["hands"]),
    chat: { last: count(chat["last"]), slow: count(chat["slow_s"]), open: chat["open"] !== false },
  };
}

export function readHands(value: unknown): Hand[] {
  return list(fields(value)?.["hands"]).flatMap((one): Hand[] => {
    const hand = fields(one);
    const who = id(hand?.["id"]);
    if (!hand || !who) return [];
    return [{ id: who, name: text(hand["name"]), since: typeof hand["since_ms"] === "number" ? hand["since_ms"] : null, invited: hand["invited"] === true }];
  });
}

export function readMe(value: unknown): Me | null {
  const from = fields(value);
  const who = id(from?.["id"]);
  if (!from || !who) return null;
  const role = (["teacher", "speaker", "viewer", "admin"] as const).find((one) => one === from["role"]) ?? "viewer";
  const state = (["audience", "hand", "invited", "stage"] as const).find((one) => one === from["state"]) ?? "audience";
  return { id: who, name: text(from["name"]), role, state, muted: from["muted"] === true };
}

/** How near the reader is to what happens on stage. */
export type Nearness =
  | "on-stage" // on it, or teaching
  | "waiting" // a hand is up, or somebody is called up
  | "reading" // the chat is open
  | "watching";

/**
 * How long to wait until the stage is asked for again, ms. Never under a second: that is how long a cache keeps the
 * answer. A third of each period is chance, so that a thousand pages that began in the same instant do not beat in step.
 * A page in the back asks rarely, unless its reader waits to be called up.
 */
export function period(near: Nearness, hidden: boolean, random: number): number {
  const least = hidden
    ? { "on-stage": 2000, waiting: 2500, reading: 15_000, watching: 30_000 }[near]
    : { "on-stage": 1000, waiting: 1000, reading: 1250, watching: 2500 }[near];
  return least * (1 + random / 3);
}
