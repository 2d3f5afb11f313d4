import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { backoff, jitter } from "../pages/lib/backoff";
import { catalogues, language, phrase, type Key } from "../pages/lib/messages";
import { readRoom, roomOf } from "../pages/lib/room";
import { inspect, tokenOf } from "../pages/lib/token";
import { assess, type Reading } from "../pages/lib/health";
import { detailOf, passing, preferred, refusal, retryAfter } from "../pages/lib/whip";

const web = process.cwd();
const page = (name: string) => readFileSync(join(web, name), "utf8");

test("every language says everything, with the same values in it", () => {
  const keys = Object.keys(catalogues.en) as Key[];
  for (const [lang, catalogue] of Object.entries(catalogues)) {
    assert.deepEqual(Object.keys(catalogue).sort(), [...keys].sort(), lang);
    for (const key of keys) {
      const marks = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
      assert.deepEqual(marks(catalogue[key]), marks(catalogues.en[key]), `${lang} ${key}`);
      assert.notEqual(catalogue[key].trim(), "", `${lang} ${key}`);
    }
  }
});

test("what the pages ask to be said exists, and every label belongs to something", () => {
  for (const name of ["index.html", "watch.html", "teach.html"]) {
    const html = page(name);
    for (const [, key] of html.matchAll(/data-say(?:-label)?="([^"]+)"/g)) assert.ok(key! in catalogues.en, `${name}: ${key}`);
    const ids = new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
    for (const [, id] of html.matchAll(/(?:for|aria-labelledby|aria-controls|aria-describedby)="([^"]+)"/g)) assert.ok(ids.has(id!), `${name}: #${id}`);
    // The policy allows neither of these.
    assert.ok(!/ on\w+=| style=|<style|<script(?![^>]*src=)/.test(html), name);
  }
});

test("the language is the one in the address, else the first wish that is known", () => {
  assert.equal(language("?lang=de", ["en-US"]), "de");
  assert.equal(language("?lang=xx", ["fr", "de-AT", "en"]), "de");
  assert.equal(language("", ["fr-FR"]), "en");
  assert.equal(language("?lang=constructor", ["toString"]), "en");
  assert.equal(phrase("de", "watch.latency", { seconds: "1,4" }), "1,4 s");
  assert.equal(phrase("en", "watch.latency"), "{seconds} s", "a value that is missing is seen");
});

test("a page's room is the last part of its address, where a room can have that name", () => {
  assert.equal(roomOf("/watch/physics-101"), "physics-101");
  assert.equal(roomOf("/watch/physics-101/"), "physics-101");
  for (const path of ["/watch/", "/watch/Physics", "/watch/-a", "/watch/%E0%A4%A", "/watch/a%2Fb", `/watch/${"x".repeat(65)}`]) {
    assert.equal(path === "/watch/" ? "watch" : null, roomOf(path), path);
  }
});

test("what the box says of a room is read with care", () => {
  assert.deepEqual(readRoom({ room: "r", state: "live", session: "s", renditions: [{ name: "v", codecs: "av01.0.05M.08", width: 1280, height: 720, bitrate: 9, dropped: "too slow" }, { name: "a", codecs: "mp4a.40.2", width: null, height: null, dropped: null }, 3, { codecs: "x" }] }), {
    room: "r", title: "r", state: "live", session: "s", viewers: null, renditions: [{ name: "v", codec: "av01.0.05M.08", dropped: true, width: 1280, height: 720, bitrate: 9 }, { name: "a", codec: "mp4a.40.2", dropped: false }],
  });
  assert.equal(readRoom({ room: "r", state: "paused" })?.state, "waiting");
  assert.deepEqual([0, 7, -1, "7"].map((viewers) => readRoom({ room: "r", viewers })?.viewers), [0, 7, null, null]);
  for (const value of [null, 3, [], {}, { room: "No" }, { room: 3 }]) assert.equal(readRoom(value), null);
});

test("retries double up to a ceiling and are spread over half of it", () => {
  assert.equal(backoff(0, 500, 8000, 0), 250);
  assert.equal(backoff(0, 500, 8000, 1), 500);
  assert.equal(backoff(3, 500, 8000, 1), 4000);
  assert.equal(backoff(40, 500, 8000, 1), 8000);
  assert.equal(backoff(5000, 500, 8000, 0), 4000);
  assert.equal(backoff(-1, 500, 8000, 1), 500);
  assert.equal(jitter(1000, 0.3, 0), 700);
  assert.equal(jitter(1000, 0.3, 1), 1300);
});

const jwt = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;
test("a token says early what is wrong with it, as far as can be seen without a key", () => {
  const now = 1_700_000_000_000;
  const at = now / 1000;
  assert.equal(inspect(null, "r", now), "missing");
  assert.equal(inspect("abc", "r", now), "broken");
  assert.equal(inspect("a.!!.c", "r", now), "broken");
  assert.equal(inspect(jwt({ room: "r", exp: at - 1 }), "r", now), "expired");
  assert.equal(inspect(jwt({ room: "r", nbf: at + 3600 }), "r", now), "early");
  assert.equal(inspect(jwt({ room: "other", exp: at + 60 }), "r", now), "other-room");
  assert.equal(inspect(jwt({ room: "r", exp: at + 60, name: "Ä" }), "r", now), "good");
  assert.equal(tokenOf("#token=a.b.c"), "a.b.c");
  assert.equal(tokenOf("#"), null);
});

test("a refusal is sorted by what the teacher can do about it", () => {
  assert.deepEqual([401, 403, 404, 409, 415, 400, 503, 429, 500, 502, 200].map(refusal), ["token", "token", "room", "taken", "offer", "offer", "full", "full", "away", "away", "away"]);
  assert.deepEqual((["token", "room", "taken", "offer", "full", "away"] as const).map(passing), [false, false, false, false, true, true]);
  assert.equal(detailOf("application/problem+json", '{"title":"t","detail":"d"}'), "d");
  assert.equal(detailOf("application/problem+json", '{"title":"t"}'), "t");
  assert.equal(detailOf("application/problem+json", "<html>"), null);
  assert.equal(detailOf("text/html", '{"detail":"d"}'), null);
  assert.equal(retryAfter("3", 0), 3);
  assert.equal(retryAfter("999999", 0), 60);
  assert.equal(retryAfter(new Date(10_000).toUTCString(), 5000), 5);
  assert.equal(retryAfter("soon", 0), null);
});

test("H.264 is offered first, in the profile that everything decodes, then VP8; repair formats stay behind", () => {
  const codecs = ["video/rtx", "video/AV1", "video/VP9", "video/VP8", "video/H264 packetization-mode=0;profile-level-id=42e01f", "video/H264 packetization-mode=1;profile-level-id=42001f", "video/H264 packetization-mode=1;profile-level-id=42e01f", "video/ulpfec"]
    .map((text) => ({ mimeType: text.split(" ")[0]!, sdpFmtpLine: text.split(" ")[1] ?? "" }));
  const order = preferred(codecs).map(({ mimeType, sdpFmtpLine }) => `${mimeType} ${sdpFmtpLine}`.trim());
  assert.deepEqual(order.map((o) => o.split(" ")[0]), ["video/H264", "video/H264", "video/H264", "video/VP8", "video/VP9", "video/AV1", "video/rtx", "video/ulpfec"]);
  assert.match(order[0]!, /packetization-mode=1;profile-level-id=42e01f/);
  assert.match(order[2]!, /packetization-mode=0/);
});

test("the connection's health is the thing that explains most", () => {
  const before: Reading = { at: 0, bytes: 0, packets: 0, lost: 0, roundTrip: 0.01, frames: 0, limited: "none", picture: true };
  const after = (change: Partial<Reading>) => assess(before, { ...before, at: 2000, bytes: 250_000, packets: 200, frames: 60, ...change });
  assert.deepEqual(after({}), { health: "good", bitrate: 1_000_000, loss: 0, roundTrip: 0.01 });
  assert.equal(after({ packets: 0, bytes: 0, lost: 9 }).health, "nothing");
  assert.equal(after({ lost: 20, limited: "cpu" }).health, "lossy");
  assert.equal(after({ limited: "bandwidth" }).health, "narrow");
  assert.equal(after({ limited: "cpu" }).health, "busy");
  assert.equal(after({ limited: "cpu", picture: false }).health, "good", "a hidden picture needs no processor");
  assert.equal(after({ roundTrip: 0.9 }).health, "slow");
  assert.equal(after({ lost: -5 }).loss, 0);
});
