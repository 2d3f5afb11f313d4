// The token in a link, or that a guest was given: kept for this tab, taken out of the address bar (which a shared screen
// shows), and looked into just enough to say early that it has run out. Whether it is good, only the box decides.

/** The token of this page: out of its address, else out of this tab's memory. A reload still has it. */
export function keptToken(room: string): string | null {
  const given = tokenOf(location.hash);
  try {
    if (given) {
      sessionStorage.setItem(`token/${room}`, given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return given ?? sessionStorage.getItem(`token/${room}`);
  } catch {
    return given; // storage is switched off: the link works as long as it is in the address
  }
}

/** Keeps what the box gave a guest, for this tab. */
export function keepToken(room: string, token: string): void {
  try {
    sessionStorage.setItem(`token/${room}`, token);
  } catch {
    // Until the next reload it is known anyway.
  }
}

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

/** What the token says its holder may do; null where it says nothing. */
export function roleOf(token: string | null): string | null {
  const role = token ? claimsOf(token)?.["role"] : null;
  return typeof role === "string" ? role : null;
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
