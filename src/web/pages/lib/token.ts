// The token in a teacher's link: kept for this tab, taken out of the address bar (which a shared screen shows), and
// looked into just enough to say early that it has run out. Whether it is good, only the box decides.

/** The token of `#token=...`. */
export function tokenOf(hash: string): string | null {
  return new URLSearchParams(hash.replace(/^#/, "")).get("token") || null;
}

export type TokenState = "good" | "missing" | "broken" | "expired" | "early" | "other-room";

/** What can be seen of a token without a key. `now` in ms. */
export function inspect(token: string | null, room: string, now: number): TokenState {
  if (!token) return "missing";
  const claims = claimsOf(token);
  if (!claims) return "broken";
  const at = now / 1000;
  if (typeof claims["exp"] === "number" && claims["exp"] <= at) return "expired";
  // Half a minute of grace: clocks differ, and the box has the word.
  if (typeof claims["nbf"] === "number" && claims["nbf"] > at + 30) return "early";
  if (typeof claims["room"] === "string" && claims["room"] !== room && claims["room"] !== "*") return "other-room";
  return "good";
}

function claimsOf(token: string): Record<string, unknown> | null {
  const middle = token.split(".");
  if (middle.length !== 3 || !middle[1]) return null;
  try {
    const bytes = Uint8Array.from(atob(middle[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
