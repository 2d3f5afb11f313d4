// How late a viewer sees the synthetic class: from capture (the clock burnt into each picture) to display in a real
// browser, measured on the frames that <video> shows. Publisher and browser must share a clock: one machine.
//
//   node latency.mjs --url http://127.0.0.1:8080 --room demo [--seconds 60] [--rung "720p · AV1"] [--json]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { figures, launch, open, until } from "./browser.mjs";

const { values: args } = parseArgs({
  options: {
    url: { type: "string", default: process.env.PROSCENIUM_URL ?? "http://127.0.0.1:8080" },
    room: { type: "string", default: process.env.PROSCENIUM_ROOM ?? "demo" },
    seconds: { type: "string", default: "60" },
    rung: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const say = (text) => args.json || console.log(text);
const reader = readFileSync(join(import.meta.dirname, "burnt.mjs"), "utf8").replaceAll(/^export /gm, "");

/** In the page: keeps, for every frame shown, when it was captured and when it appeared. */
const collect = `{
  ${reader}
  const video = document.querySelector("video");
  const canvas = new OffscreenCanvas(640, 32);
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  window.__seen = { frames: [], unread: 0 };
  const look = (_now, { expectedDisplayTime, width, height }) => {
    context.drawImage(video, 0, (40 / 45) * height, width, (4 / 45) * height, 0, 0, 640, 32);
    const shown = Date.now() - performance.now() + expectedDisplayTime;
    const stamp = read(context.getImageData(0, 0, 640, 32).data, 640, 32);
    if (stamp) {
      const f = window.__proscenium;
      window.__seen.frames.push([stamp.frame, shown - resolve(stamp.wall, Math.round(shown)), f.latency, f.behindRoom]);
    } else window.__seen.unread++;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}`;

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
const mean = (list) => (list.length ? list.reduce((a, b) => a + b, 0) / list.length : null);

const browser = await launch();
try {
  const page = await open(browser, `${args.url}/watch/${args.room}`);
  await until(page, "the class plays", (f) => f.phase === "playing" && f.level, 60);
  if (args.rung) {
    await page.mouse.move(600, 400);
    await page.click("#quality");
    await page.getByRole("menuitemradio", { name: args.rung, exact: true }).click();
    await until(page, args.rung, (f) => f.level?.label === args.rung, 20);
  }
  // The first seconds are those of catching up from wherever the player began.
  await until(page, "near its target", (f) => f.latency !== null && f.latency - f.target < 0.2 && f.behindRoom !== null, 60);
  const begin = await figures(page);
  say(`${begin.level.label} of ${args.url}/watch/${args.room}, ${args.seconds} s ...`);
  await page.evaluate(collect);
  await page.waitForTimeout(Number(args.seconds) * 1000);
  const { frames, unread } = await page.evaluate(() => window.__seen);
  const end = await figures(page);
  if (frames.length < 10) throw new Error(`the clock was read on ${frames.length} of ${frames.length + unread} frames: is this the synthetic class?`);
  const sorted = frames.map(([, ms]) => ms / 1000).sort((a, b) => a - b);
  const known = frames.filter(([, , latency, behind]) => latency !== null && behind !== null);
  const [total, latency, behind] = [mean(known.map(([, ms]) => ms / 1000)), mean(known.map((f) => f[2])), mean(known.map((f) => f[3]))];
  const result = {
    rung: end.level.label,
    frames: frames.length,
    unread,
    p50: percentile(sorted, 0.5),
    p95: percentile(sorted, 0.95),
    least: sorted[0],
    most: sorted.at(-1),
    // Where it goes: capture, network, jitter buffer and compose; encode, package and publish; hold-back and player.
    intoRoom: total - behind,
    toEdge: behind - latency,
    fromEdge: latency,
    target: end.target,
    stalls: end.stalls - begin.stalls,
    errors: end.errors.length - begin.errors.length,
  };
  if (args.json) console.log(JSON.stringify(result));
  else {
    const s = (value) => `${value.toFixed(2)} s`;
    console.log(`publisher to display: p50 ${s(result.p50)}, p95 ${s(result.p95)} (${s(result.least)} to ${s(result.most)}) over ${frames.length} frames, ${unread} unread`);
    console.log(`  capture to the room's timeline ${s(result.intoRoom)}, from there to the live edge ${s(result.toEdge)}, from the edge to the eye ${s(result.fromEdge)} (target ${s(result.target)})`);
    console.log(`  ${result.stalls} stalls, ${result.errors} errors`);
  }
} finally {
  await browser.close();
}
