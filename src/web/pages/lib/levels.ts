// Which rung to play, and what to call it. Pure: knows neither the player nor the browser.

export type Family = "av1" | "h264" | "hevc" | "vp9" | "other";

/** What the choice needs of a variant. `bitrate` in bits a second. */
export interface Rung {
  width: number;
  height: number;
  bitrate: number;
  /** RFC 6381, of the picture alone or of the whole variant. */
  codec: string;
}

export function family(codec: string): Family {
  for (const one of codec.toLowerCase().split(",")) {
    const name = one.trim();
    if (/^(av01|av1)/.test(name)) return "av1";
    if (/^(avc[13]|h\.?264)/.test(name)) return "h264";
    if (/^(hvc1|hev1|hevc|h\.?265)/.test(name)) return "hevc";
    if (/^(vp0?9)/.test(name)) return "vp9";
  }
  return "other";
}

const NAMES: Record<Family, string> = { av1: "AV1", h264: "H.264", hevc: "HEVC", vp9: "VP9", other: "?" };

/** "720p · AV1". The shorter side counts: a phone held upright sends 720x1280, and that is 720p too. */
export function label(rung: Rung): string {
  const lines = Math.min(rung.width || rung.height, rung.height);
  const name = family(rung.codec);
  return `${lines ? `${lines}p` : "–"} · ${name === "other" ? rung.codec : NAMES[name]}`;
}

/** Indexes of `rungs` in the order of a menu: biggest picture first, of equal ones the newer codec first. */
export function menuOrder(rungs: readonly Rung[]): number[] {
  const newer: Family[] = ["av1", "hevc", "vp9", "h264", "other"];
  return rungs
    .map((_, index) => index)
    .sort((a, b) => {
      const [one, two] = [rungs[a], rungs[b]];
      if (!one || !two) return 0;
      return (
        two.height - one.height ||
        newer.indexOf(family(one.codec)) - newer.indexOf(family(two.codec)) ||
        two.bitrate - one.bitrate
      );
    });
}

/** What `MediaCapabilities.decodingInfo` says. */
export interface Decoding {
  supported: boolean;
  smooth: boolean;
  powerEfficient: boolean;
}

/**
 * Whether Auto begins with AV1: where the browser says that it plays smoothly, and a chip does it or a core is left for
 * everything else. The box's AV1 rungs are 720p at most, a third of a core of this decade. The player watches the
 * frames that are not shown, and goes to H.264 where the browser promised too much.
 */
export function prefersAv1(decoding: Decoding | null, cores: number): boolean {
  if (!decoding?.supported || !decoding.smooth) return false;
  return decoding.powerEfficient || cores >= 2;
}

/** Part of the measured bandwidth that a rung may take: the rest is for sound, and for being wrong. */
const SHARE = 0.75;

/**
 * The rung that Auto should play within `wanted`: the best that `bandwidth` (bits/s) carries, the smallest where none
 * does. Rungs in `out` (dropped by the box, or failing) are passed over; where nothing of the family is left, the
 * others are looked at; -1 where nothing at all is left.
 */
export function choose(rungs: readonly Rung[], wanted: Family, bandwidth: number, out: ReadonlySet<number>): number {
  const left = rungs.flatMap((rung, index) => (out.has(index) ? [] : [{ rung, index }]));
  const own = left.filter(({ rung }) => family(rung.codec) === wanted);
  const h264 = left.filter(({ rung }) => family(rung.codec) === "h264");
  const pool = own.length ? own : h264.length ? h264 : left;
  const rising = [...pool].sort((a, b) => a.rung.bitrate - b.rung.bitrate);
  const fitting = rising.filter(({ rung }) => rung.bitrate <= bandwidth * SHARE);
  return (fitting.at(-1) ?? rising[0])?.index ?? -1;
}

/** Indexes of the variants that the box says it has dropped: same codec family and same height. */
export function droppedOf(
  rungs: readonly Rung[],
  renditions: readonly { codec: string; height?: number; dropped: boolean }[],
): Set<number> {
  const dropped = new Set<number>();
  rungs.forEach((rung, index) => {
    const same = renditions.filter((r) => r.height === rung.height && family(r.codec) === family(rung.codec));
    if (same.length > 0 && same.every((r) => r.dropped)) dropped.add(index);
  });
  return dropped;
}
