// Players of other makes, and a parser of another make, on the output of a real box in which a class runs (LLHLS.md,
// line 29). Skipped unless PROSCENIUM_URL names one:
//   PROSCENIUM_URL=http://127.0.0.1:8080 PROSCENIUM_ROOM=class node run.mjs players.test.mjs
// SECONDS: how long each player looks, 15 by default.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createFile, Log } from "mp4box";
import { launch } from "./browser.mjs";

const { PROSCENIUM_URL: box, PROSCENIUM_ROOM: room = "class" } = process.env;
const SECONDS = Number(process.env.SECONDS ?? 15);
const index = `${box}/hls/${room}/index.m3u8`;

/** The text at `url`. */
async function text(url) {
  const answer = await fetch(url);
  assert.equal(answer.status, 200, url);
  return answer.text();
}

/** Variants and renditions of the multivariant playlist: {name, url, codecs}. */
async function renditions() {
  const lines = (await text(index)).split("\n");
  const all = lines.flatMap((line, at) => {
    const uri = /URI="([^"]+)"/.exec(line)?.[1];
    if (line.startsWith("#EXT-X-MEDIA:") && uri) return [{ uri, codecs: "mp4a" }];
    if (!line.startsWith("#EXT-X-STREAM-INF:")) return [];
    return [{ uri: lines[at + 1], codecs: /CODECS="([^"]+)"/.exec(line)[1] }];
  });
  return all.map(({ uri, codecs }) => ({ name: uri.split("/").at(-2), url: new URL(uri, index).href, codecs }));
}

describe("other players on a real box", { skip: box ? false : "PROSCENIUM_URL names no box" }, () => {
  let browser;
  let desk;
  before(async () => {
    browser = await launch();
    const shaka = await readFile(fileURLToPath(import.meta.resolve("shaka-player")));
    desk = createServer((request, answer) => {
      if (request.url === "/shaka.js") return answer.writeHead(200, { "content-type": "text/javascript" }).end(shaka);
      const page = '<!doctype html><title>Shaka</title><video muted width="640"></video><script src="/shaka.js"></script>';
      answer.writeHead(200, { "content-type": "text/html" }).end(page);
    });
    await new Promise((listening) => desk.listen(0, "127.0.0.1", listening));
  });
  after(async () => {
    await browser?.close();
    desk?.close();
  });

  for (const [codec, prefix] of [["H.264", "avc1"], ["AV1", "av01"]]) {
    test(`Shaka Player plays ${codec} live without a complaint`, { timeout: 90_000 }, async (t) => {
      const offered = (await renditions()).find(({ codecs }) => codecs.startsWith(prefix));
      if (!offered) return t.skip(`this box is too busy for ${codec}`);
      const page = await browser.newPage();
      const complaints = [];
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (["warning", "error"].includes(message.type())) complaints.push(message.text());
      });
      await page.goto(`http://127.0.0.1:${desk.address().port}/`);
      const seen = await page.evaluate(async ([index, codec, seconds]) => {
        const { shaka } = window;
        shaka.polyfill.installAll();
        const video = document.querySelector("video");
        const player = new shaka.Player();
        await player.attach(video);
        const errors = [];
        player.addEventListener("error", ({ detail }) => errors.push(`${detail.code}: ${JSON.stringify(detail.data)}`));
        player.configure({ preferredVideo: [{ codec }], streaming: { lowLatencyMode: true }, abr: { enabled: false } });
        await player.load(index);
        await video.play();
        const playing = () => video.currentTime > 0 && video.readyState >= 3;
        while (!playing()) await new Promise((done) => video.addEventListener("timeupdate", done, { once: true }));
        const from = video.currentTime;
        while (video.currentTime < from + seconds) await new Promise((done) => video.addEventListener("timeupdate", done, { once: true }));
        const variant = player.getVariantTracks().find((track) => track.active);
        const { decodedFrames } = player.getStats();
        await player.destroy();
        return { errors, codec: variant.videoCodec, decodedFrames };
      }, [index, offered.codecs.split(",")[0], SECONDS]);
      assert.deepEqual(seen.errors, []);
      assert.deepEqual(complaints, []);
      assert.ok(seen.codec.startsWith(prefix), seen.codec);
      assert.ok(seen.decodedFrames > 10 * SECONDS, `${seen.decodedFrames} frames`);
      await page.close();
    });
  }

  test("ffmpeg plays every rendition live without a word", { timeout: 90_000 }, async () => {
    const all = await renditions();
    // At once, as viewers do; each from the live edge on.
    const runs = all.map(async ({ name, url }) => {
      const args = ["-v", "warning", "-nostdin", "-live_start_index", "-1", "-i", url, "-t", "6", "-f", "null", "-"];
      const { stderr } = await promisify(execFile)("ffmpeg", args, { timeout: 60_000 });
      // It reads the init segment again after every reload of any live playlist, and says so.
      return [name, stderr.replaceAll(/^.*Found duplicated MOOV Atom. Skipped it\n/gm, "")];
    });
    assert.deepEqual(await Promise.all(runs), all.map(({ name }) => [name, ""]));
  });

  test("MP4Box's parser finds every part whole and every sample where the one before ended", async () => {
    const words = [];
    for (const level of ["warn", "error"]) Log[level] = (module, message) => {
      // A remark about its own bookkeeping.
      if (!message.includes("no array exists")) words.push(`${level}: ${module}: ${message}`);
    };
    for (const { name, url, codecs } of await renditions()) {
      const playlist = await text(url);
      const init = /#EXT-X-MAP:URI="([^"]+)"/.exec(playlist)[1];
      const parts = [...playlist.matchAll(/#EXT-X-PART:.*URI="([^"]+)"/g)].map(([, uri]) => uri);
      assert.ok(parts.length >= 3, `${name}: ${parts.length} parts`);
      const file = createFile();
      const told = new Promise((ready, failed) => {
        file.onReady = ready;
        file.onError = (module, message) => failed(new Error(`${module}: ${message}`));
      });
      let at = 0;
      for (const uri of [init, ...parts]) {
        const answer = await fetch(new URL(uri, url));
        assert.equal(answer.status, 200, uri);
        const bytes = await answer.arrayBuffer();
        bytes.fileStart = at;
        at += bytes.byteLength;
        file.appendBuffer(bytes);
      }
      const info = await told;
      assert.equal(info.tracks.length, 1, name);
      assert.ok(codecs.includes(info.tracks[0].codec.split(".")[0]), `${name}: ${info.tracks[0].codec} of ${codecs}`);
      const samples = file.getTrackSamplesInfo(info.tracks[0].id);
      assert.ok(samples.length >= 3 * parts.length, `${name}: ${samples.length} samples`);
      samples.slice(1).forEach((sample, n) => assert.equal(sample.dts, samples[n].dts + samples[n].duration, `${name}: sample ${n + 1}`));
      assert.equal(file.getBoxes("moof").length, parts.length, name);
    }
    assert.deepEqual(words, []);
  });
});
