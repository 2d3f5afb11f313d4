import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, droppedOf, family, label, menuOrder, prefersAv1, type Rung } from "../pages/lib/levels";

const rung = (height: number, codec: string, bitrate: number, width = Math.round((height * 16) / 9)): Rung => ({ width, height, bitrate, codec });
const LADDER = [
  rung(360, "avc1.4D401E", 600_000),
  rung(360, "av01.0.01M.08", 400_000),
  rung(480, "avc1.4D401F", 1_000_000),
  rung(720, "avc1.4D401F", 2_000_000),
  rung(720, "av01.0.05M.08", 1_300_000),
];
const none = new Set<number>();

test("codec families are known by their RFC 6381 names, alone or beside sound", () => {
  assert.equal(family("av01.0.05M.08"), "av1");
  assert.equal(family("mp4a.40.2,avc1.64001f"), "h264");
  assert.equal(family("avc3.64001f"), "h264");
  assert.equal(family("hvc1.1.6.L93.B0"), "hevc");
  assert.equal(family("vp09.00.10.08"), "vp9");
  assert.equal(family("H264"), "h264");
  assert.equal(family("mp4a.40.2"), "other");
  assert.equal(family(""), "other");
});

test("a rung's label is its lines and its codec; a phone held upright counts by its shorter side", () => {
  assert.equal(label(rung(720, "av01.0.05M.08", 1)), "720p · AV1");
  assert.equal(label(rung(1280, "avc1.4D401F", 1, 720)), "720p · H.264");
  assert.equal(label({ width: 0, height: 480, bitrate: 1, codec: "avc1.4D401F" }), "480p · H.264");
});

test("the menu has the biggest picture first, and of equal ones the newer codec", () => {
  assert.deepEqual(menuOrder(LADDER).map((i) => label(LADDER[i]!)), ["720p · AV1", "720p · H.264", "480p · H.264", "360p · AV1", "360p · H.264"]);
});

test("AV1 is preferred where it is smooth, and done by a chip or on a device with cores to spare", () => {
  const decoding = { supported: true, smooth: true, powerEfficient: false };
  assert.equal(prefersAv1(decoding, 4), true);
  assert.equal(prefersAv1(decoding, 1), false);
  assert.equal(prefersAv1({ ...decoding, powerEfficient: true }, 1), true);
  assert.equal(prefersAv1({ ...decoding, smooth: false, powerEfficient: true }, 16), false);
  assert.equal(prefersAv1({ ...decoding, supported: false }, 16), false);
  assert.equal(prefersAv1(null, 16), false);
});

test("Auto plays the best rung of its codec that the network carries, and the smallest where none fits", () => {
  assert.equal(choose(LADDER, "h264", 5e6, none), 3);
  assert.equal(choose(LADDER, "h264", 1.5e6, none), 2);
  assert.equal(choose(LADDER, "av1", 5e6, none), 4);
  assert.equal(choose(LADDER, "av1", 1e6, none), 1);
  assert.equal(choose(LADDER, "av1", 1000, none), 1);
});

test("rungs that are out are passed over, codecs that are out altogether are replaced by H.264, and nothing is nothing", () => {
  assert.equal(choose(LADDER, "av1", 5e6, new Set([4])), 1);
  assert.equal(choose(LADDER, "av1", 5e6, new Set([1, 4])), 3);
  assert.equal(choose(LADDER, "h264", 5e6, new Set([0, 2, 3])), 4, "a picture in the other codec is better than none");
  assert.equal(choose(LADDER, "h264", 5e6, new Set([0, 1, 2, 3, 4])), -1);
  assert.equal(choose([], "h264", 5e6, none), -1);
});

test("a rendition that the box dropped is found by height and codec", () => {
  const renditions = [
    { codec: "av1", height: 720, dropped: true },
    { codec: "h264", height: 720, dropped: false },
    { codec: "avc1.4D401E", height: 360, dropped: true },
    { codec: "aac", dropped: true },
  ];
  assert.deepEqual([...droppedOf(LADDER, renditions)].sort(), [0, 4]);
});
