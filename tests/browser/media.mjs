// Media for the scripted box: a 16 s loop in five rungs and sound, cut by ffmpeg into fragments of a third of a
// second. Made once a machine (some seconds), kept in the folder for temporary files; nothing of it is committed.
import { execFile } from "node:child_process";
import { mkdir, readFile, rename, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const FPS = 30;
export const PART = 1 / 3;
export const SEGMENT = 4;
export const LOOP = 16;
export const PARTS = SEGMENT / PART;

export const RUNGS = [
  { name: "h264-720", codec: "h264", width: 1280, height: 720, bitrate: 1_500_000, codecs: "avc1.4D401F" },
  { name: "h264-480", codec: "h264", width: 854, height: 480, bitrate: 800_000, codecs: "avc1.4D401F" },
  { name: "h264-360", codec: "h264", width: 640, height: 360, bitrate: 450_000, codecs: "avc1.4D401E" },
  { name: "av1-720", codec: "av1", width: 1280, height: 720, bitrate: 1_000_000, codecs: "av01.0.05M.08" },
  { name: "av1-360", codec: "av1", width: 640, height: 360, bitrate: 300_000, codecs: "av01.0.01M.08" },
];

const folder = join(tmpdir(), "proscenium-browser-media-3");

async function encode(name, args, fragment = "333333") {
  const path = join(folder, `${name}.mp4`);
  if (await stat(path).catch(() => null)) return path;
  const fragments = ["-movflags", "+empty_moov+default_base_moof+frag_keyframe", "-frag_duration", fragment, "-use_editlist", "0"];
  await run("ffmpeg", ["-v", "error", "-y", ...args, ...fragments, "-f", "mp4", `${path}.new`]);
  await rename(`${path}.new`, path);
  return path;
}

/** Boxes of an MP4 file at one level: [type, start, end]. */
function* boxes(bytes, from = 0, to = bytes.length) {
  for (let at = from; at + 8 <= to; ) {
    const size = bytes.readUInt32BE(at);
    yield [bytes.toString("latin1", at + 4, at + 8), at, at + size];
    at += size;
  }
}

/** A file as its init segment and its fragments, each with where its tfdt stands. */
function split(bytes) {
  let init = 0;
  const fragments = [];
  for (const [type, start, end] of boxes(bytes)) {
    if (type === "moov") init = end;
    if (type === "moof") fragments.push({ start, tfdt: find(bytes, start, end, ["traf", "tfdt"]), end });
    if (type === "mdat") fragments.at(-1).end = end;
  }
  return { init: bytes.subarray(0, init), fragments: fragments.map(({ start, tfdt, end }) => ({ bytes: bytes.subarray(start, end), tfdt: tfdt - start })) };
}

function find(bytes, start, end, [want, ...rest]) {
  for (const [type, from, to] of boxes(bytes, start + 8, end)) {
    if (type === want) return rest.length ? find(bytes, from, to, rest) : from;
  }
  throw new Error(`no ${want}`);
}

/** Sound's frames (1024 samples, a fragment each) as parts: those that begin within a part belong to it. */
function grouped({ init, fragments }) {
  const parts = Array.from({ length: LOOP / PART }, () => []);
  fragments.slice(0, (LOOP * 48_000) / 1024).forEach((frame, i) => parts[Math.floor((i * 1024) / 48_000 / PART + 1e-9)].push(frame));
  return { init, fragments: parts };
}

/** The bytes of a part (a fragment, or some), moved by `ticks` of its timescale. */
export function moved(fragment, ticks) {
  if (Array.isArray(fragment)) return Buffer.concat(fragment.map((one) => moved(one, ticks)));
  const bytes = Buffer.from(fragment.bytes);
  const at = fragment.tfdt;
  if (bytes[at + 8] !== 1) throw new Error("tfdt of 32 bits");
  bytes.writeBigUInt64BE(bytes.readBigUInt64BE(at + 12) + BigInt(ticks), at + 12);
  return bytes;
}

/** { [rendition]: { init, fragments, timescale } } */
export async function media() {
  await mkdir(folder, { recursive: true });
  const made = {};
  for (const rung of RUNGS) {
    const source = `testsrc2=size=${rung.width}x${rung.height}:rate=${FPS}:duration=${LOOP}`;
    const gop = String(2 * FPS);
    const codec = rung.codec === "h264"
      ? ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "main", "-sc_threshold", "0", "-g", gop, "-keyint_min", gop]
      : ["-c:v", "libsvtav1", "-preset", "12", "-g", gop, "-svtav1-params", "pred-struct=1:rc=2:irefresh-type=2"];
    const path = await encode(rung.name, ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-video_track_timescale", "90000", ...codec, "-b:v", String(rung.bitrate)]);
    made[rung.name] = { ...split(await readFile(path)), timescale: 90_000 };
  }
  const sound = await encode("sound", ["-f", "lavfi", "-i", `sine=frequency=330:sample_rate=48000:duration=${LOOP}`, "-ac", "2", "-c:a", "aac", "-b:a", "96k"], "1");
  made.sound = { ...grouped(split(await readFile(sound))), timescale: 48_000 };
  return made;
}
