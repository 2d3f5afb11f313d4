// How the connection is, in a word, from two readings of the connection's figures. Pure.

/** One reading. Counters count from the start; times in ms, lengths in seconds. */
export interface Reading {
  at: number;
  bytes: number;
  packets: number;
  lost: number;
  roundTrip: number | null;
  frames: number;
  /** What the browser says holds the picture back: "none", "cpu", "bandwidth", "other". */
  limited: string;
  /** Whether a moving picture is sent at all (a muted camera and a still screen send few frames). */
  picture: boolean;
}

export type Health = "good" | "busy" | "narrow" | "lossy" | "slow" | "nothing";

export interface Report {
  health: Health;
  /** Bits a second. */
  bitrate: number;
  /** Share of the packets sent that got lost, 0 to 1. */
  loss: number;
  /** Seconds. */
  roundTrip: number | null;
}

export function assess(before: Reading, now: Reading): Report {
  const seconds = (now.at - before.at) / 1000;
  const sent = now.packets - before.packets;
  const lost = Math.max(0, now.lost - before.lost);
  const loss = sent > 0 ? Math.min(1, lost / sent) : 0;
  const bitrate = seconds > 0 ? Math.max(0, ((now.bytes - before.bytes) * 8) / seconds) : 0;
  const report = { bitrate, loss, roundTrip: now.roundTrip };
  // The order is that of how much each explains: nothing sent explains everything.
  if (sent <= 0) return { ...report, health: "nothing" };
  if (loss > 0.05) return { ...report, health: "lossy" };
  if (now.picture && now.limited === "bandwidth") return { ...report, health: "narrow" };
  if (now.picture && now.limited === "cpu") return { ...report, health: "busy" };
  if (now.roundTrip !== null && now.roundTrip > 0.4) return { ...report, health: "slow" };
  return { ...report, health: "good" };
}
