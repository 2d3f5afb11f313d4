// The chat, put together from the pages that the box hands out. Pure.
//
// Messages and deletions are changes, numbered in one row: whoever asks for what came after the last page misses neither.

export interface Line {
  seq: number;
  /** When it was said, ms since 1970; null of one that was deleted. */
  at: number | null;
  /** Who said it: the box's public name for them. */
  id: string;
  name: string;
  teacher: boolean;
  text: string;
  deleted: boolean;
}

/** What is kept and shown: a long class must not fill a phone's memory. */
export const KEEP = 300;

export interface Page {
  /** Ask with this for what comes after. */
  last: number;
  /** There is more already. */
  more: boolean;
  lines: Line[];
}

export function readPage(value: unknown): Page {
  const from = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const messages = Array.isArray(from["messages"]) ? from["messages"] : [];
  const lines = messages.flatMap((one: unknown): Line[] => {
    if (typeof one !== "object" || one === null) return [];
    const { seq, at_ms, id, name, role, text, deleted } = one as Record<string, unknown>;
    if (typeof seq !== "number" || !Number.isSafeInteger(seq)) return [];
    const gone = deleted === true;
    if (!gone && typeof text !== "string") return [];
    const words = (value: unknown) => (typeof value === "string" ? value : "");
    return [{ seq, at: typeof at_ms === "number" ? at_ms : null, id: words(id), name: words(name), teacher: role === "teacher" || role === "admin", text: gone ? "" : words(text), deleted: gone }];
  });
  const last = typeof from["last"] === "number" ? from["last"] : Math.max(0, ...lines.map((line) => line.seq));
  return { last, more: from["more"] === true, lines };
}

/** `log` with `lines` in it: each number once, in order, what was deleted marked so, the newest `KEEP`. */
export function merge(log: readonly Line[], lines: readonly Line[]): Line[] {
  const all = new Map(log.map((line) => [line.seq, line]));
  // A message that this reader never had leaves no trace of its deletion either.
  for (const line of lines) if (!line.deleted || all.has(line.seq)) all.set(line.seq, line);
  return [...all.values()].sort((a, b) => a.seq - b.seq).slice(-KEEP);
}
