// When to try again. A whole class waits for the same box: tries are spread by chance, so that a box
// that comes back is not met by everyone in the same instant.

/** The wait before try `attempt` (0 is the first retry), in ms: doubling from `first` to `most`, and of that a
 *  random part between half and all ("equal jitter"). `random` is in [0, 1). */
export function backoff(attempt: number, first: number, most: number, random: number): number {
  const ceiling = Math.min(most, first * 2 ** Math.min(Math.max(attempt, 0), 30));
  return ceiling / 2 + (ceiling / 2) * random;
}

/** `period`, moved by at most `share` of itself either way. */
export function jitter(period: number, share: number, random: number): number {
  return period * (1 + share * (2 * random - 1));
}

/** Waits; ends early, without an error, when `signal` fires. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal?.aborted) return done();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Waits as `pause`, and no longer than until the page is looked at again. */
export async function pauseUntilSeen(ms: number, signal?: AbortSignal): Promise<void> {
  const early = new AbortController();
  const seen = () => {
    if (document.visibilityState === "visible") early.abort();
  };
  const stop = () => early.abort();
  document.addEventListener("visibilitychange", seen);
  window.addEventListener("online", stop);
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  await pause(ms, early.signal);
  document.removeEventListener("visibilitychange", seen);
  window.removeEventListener("online", stop);
  signal?.removeEventListener("abort", stop);
}
