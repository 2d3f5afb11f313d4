// An SDP offer to the box, its answer back, and the end of what it opened: what WHIP (RFC 9725) and WHEP
// (draft-ietf-wish-whep) have in common.
import { detailOf, refusal, retryAfter, type Refusal } from "./whip";

/** The box answers within this time, or it is away (ms). */
const ANSWER = 10_000;

/** The box said no, or nothing. */
export class Refused extends Error {
  constructor(
    readonly why: Refusal,
    readonly detail: string | null,
    /** Seconds that the box asks to wait. */
    readonly wait: number | null,
  ) {
    super(`refused: ${why}`);
  }
}

export interface Session {
  answer: string;
  /** The address of the session; null where the box named none. */
  resource: string | null;
}

export const bearer = (token: string | null): Record<string, string> => (token ? { authorization: `Bearer ${token}` } : {});

/** Posts `sdp` to `address`. Throws `Refused`. */
export async function offer(address: string, token: string | null, sdp: string, signal: AbortSignal): Promise<Session> {
  let answer: Response;
  let body: string;
  try {
    answer = await fetch(address, {
      method: "POST",
      headers: { "content-type": "application/sdp", ...bearer(token) },
      body: sdp,
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER)]),
    });
    body = await answer.text();
  } catch {
    throw new Refused("away", null, null);
  }
  if (answer.status !== 201) {
    const detail = detailOf(answer.headers.get("content-type"), body);
    throw new Refused(refusal(answer.status), detail, retryAfter(answer.headers.get("retry-after"), Date.now()));
  }
  const location = answer.headers.get("location");
  return { answer: body, resource: location ? new URL(location, new URL(address, window.location.href)).href : null };
}

/** Ends a session, without waiting for long. */
export async function hangUp(resource: string, token: string | null): Promise<void> {
  // keepalive lets it arrive after the page is gone.
  await fetch(resource, { method: "DELETE", headers: bearer(token), keepalive: true, signal: AbortSignal.timeout(2000) }).catch(() => undefined);
}

/** Settles when `pc` has lost its way to the box, never found one, or `signal` fires. ICE gets some time to mend itself. */
export function lost(pc: RTCPeerConnection, signal: AbortSignal, connected: () => void): Promise<void> {
  /** ICE finds a new way by itself within this time, or it does not (ms). */
  const grace = 4000;
  /** From the answer until media can flow, ms. */
  const connect = 12_000;
  return new Promise((done) => {
    let timer: ReturnType<typeof setTimeout> | undefined = setTimeout(done, connect);
    const end = () => {
      clearTimeout(timer);
      done();
    };
    if (signal.aborted) return end();
    signal.addEventListener("abort", end, { once: true });
    pc.addEventListener("connectionstatechange", () => {
      clearTimeout(timer);
      timer = undefined;
      if (pc.connectionState === "connected") connected();
      else if (pc.connectionState === "disconnected") timer = setTimeout(done, grace);
      else if (pc.connectionState === "connecting") timer = setTimeout(done, connect);
      else done();
    });
  });
}
