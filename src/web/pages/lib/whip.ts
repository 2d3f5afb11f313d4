// What the box's answers to a publisher mean (RFC 9725; problem documents by RFC 9457). Pure.

export type Refusal =
  | "token" // 401, or 403: not valid, run out, or for another room
  | "room" // 404: no such room on this box
  | "taken" // 409: somebody else is live there
  | "offer" // 400, 406, 415, 422: the box cannot read or serve what this browser offers
  | "full" // 429, 503: busy
  | "away"; // no answer, or one that no box gives

export function refusal(status: number): Refusal {
  if (status === 401 || status === 403) return "token";
  if (status === 404 || status === 405) return "room";
  if (status === 409) return "taken";
  if (status === 429 || status === 503) return "full";
  if (status >= 400 && status < 500) return "offer";
  return "away";
}

/** Whether another try may go better without anybody doing anything. */
export function passing(why: Refusal): boolean {
  return why === "away" || why === "full";
}

/** The sentence that a problem document has for people, if it is one. */
export function detailOf(contentType: string | null, body: string): string | null {
  if (!contentType?.includes("json")) return null;
  try {
    const problem: unknown = JSON.parse(body);
    if (typeof problem !== "object" || problem === null) return null;
    const { detail, title } = problem as Record<string, unknown>;
    const text = typeof detail === "string" && detail ? detail : title;
    return typeof text === "string" && text ? text.slice(0, 300) : null;
  } catch {
    return null;
  }
}

/** Seconds to wait, from Retry-After (seconds or a date); null where there is none. At most a minute: a class waits. */
export function retryAfter(header: string | null, now: number): number | null {
  if (!header) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isFinite(seconds) ? Math.min(60, Math.max(0, seconds)) : null;
}

/** The codecs that are offered, best first: H.264 costs the box least and most devices encode it in hardware, then VP8,
 *  then the rest; repair formats (RTX, FEC) keep their place at the end. Only the order changes. */
export function preferred<T extends { mimeType: string; sdpFmtpLine?: string }>(codecs: readonly T[]): T[] {
  const rank = (codec: T): number => {
    const name = codec.mimeType.toLowerCase();
    const line = codec.sdpFmtpLine ?? "";
    if (name === "video/h264") return line.includes("packetization-mode=1") ? (line.includes("profile-level-id=42e0") ? 0 : 1) : 2;
    if (name === "video/vp8") return 3;
    if (name === "video/vp9") return 4;
    if (name === "video/av1") return 5;
    return /\/(rtx|red|ulpfec|flexfec)/.test(name) ? 7 : 6;
  };
  return [...codecs].sort((a, b) => rank(a) - rank(b));
}
