import assert from "node:assert/strict";
import { test } from "node:test";
import { draw, read, resolve } from "./burnt.mjs";

test("the vector of burnt.rs is read as what it says", () => {
  const bits = ["A0001E2408", "589ABCDEFB"].map((row) => [...row].map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, "0")).join(""));
  const data = new Uint8ClampedArray(4 * 640 * 32);
  for (let i = 0; i < 640 * 32; i++) data.fill(bits[Math.floor(i / 640 / 16)][Math.floor((i % 640) / 16)] === "1" ? 235 : 16, 4 * i, 4 * i + 3);
  assert.deepEqual(read(data, 640, 32), { frame: 123_456, wall: 0x89ab_cdef });
});

test("the clock is read back at every size", () => {
  for (const [frame, wall] of [[0, 0], [123_456, 0x9abc_def0], [2 ** 32 - 1, 2 ** 32 - 1]]) {
    for (const [width, height] of [[640, 32], [1280, 64], [320, 16], [857, 41]]) {
      assert.deepEqual(read(draw(frame, wall, width, height), width, height), { frame, wall }, `${width}x${height}`);
    }
  }
});

test("grey, another picture, and a blend of two frames are no clock", () => {
  assert.equal(read(new Uint8ClampedArray(4 * 640 * 32).fill(128), 640, 32), null);
  const [one, other] = [draw(7, 1_000_000, 640, 32), draw(8, 1_000_033, 640, 32)];
  const blend = one.map((value, i) => (i % 8 < 4 ? value : other[i]));
  const seen = read(blend, 640, 32);
  assert.ok(seen === null || seen.frame === 7 || seen.frame === 8);
  const wrong = one.slice();
  for (let y = 0; y < 16; y++) for (let x = 35 * 16; x < 36 * 16; x++) wrong.fill(255 - wrong[4 * (y * 640 + x)], 4 * (y * 640 + x), 4 * (y * 640 + x) + 3);
  assert.equal(read(wrong, 640, 32), null, "one wrong bit");
});

test("low bits become a whole time near the one given", () => {
  const now = 1_795_413_259_160;
  for (const ago of [0, 1500, -20, 86_400_000]) assert.equal(resolve((now - ago) % 2 ** 32, now), now - ago);
  const wrap = Math.ceil(now / 2 ** 32) * 2 ** 32;
  assert.equal(resolve((wrap - 5) % 2 ** 32, wrap + 5), wrap - 5);
});
