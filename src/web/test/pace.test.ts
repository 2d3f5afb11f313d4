import assert from "node:assert/strict";
import { test } from "node:test";
import { FASTEST, pace, SLOWEST, Target, type Situation } from "../pages/lib/pace";

const calm: Situation = { latency: 1.05, target: 1.03, buffer: 0.9, rate: 1, byChoice: false };
const rate = (change: Partial<Situation>): number => {
  const decision = pace({ ...calm, ...change });
  assert.equal(decision.jump, false);
  return decision.jump ? NaN : decision.rate;
};

test("near the target it plays as it is", () => {
  for (const latency of [0.8, 1.0, 1.1, 1.17]) assert.equal(rate({ latency }), 1, String(latency));
});

test("behind, it runs, never faster than is inaudible, and slower the nearer it comes", () => {
  const rates = [3, 2, 1.5, 1.3, 1.2].map((latency) => rate({ latency, buffer: 1.5 }));
  assert.equal(rates[0], FASTEST);
  for (let i = 1; i < rates.length; i++) assert.ok(rates[i]! <= rates[i - 1]! && rates[i]! > 1, String(rates));
});

test("it runs on until it is there, and does not begin for less: the rate does not flutter", () => {
  assert.equal(rate({ latency: 1.1, rate: 1 }), 1);
  assert.ok(rate({ latency: 1.1, rate: 1.02 }) > 1);
  assert.equal(rate({ latency: 1.05, rate: 1.02 }), 1);
});

test("with little buffered it does not run, and slows down before it stops", () => {
  assert.equal(rate({ latency: 1.5, buffer: 0.4 }), 1);
  assert.equal(rate({ latency: 1.1, buffer: 0.2 }), SLOWEST);
  assert.equal(rate({ latency: 1.1, buffer: 0.4, rate: SLOWEST }), SLOWEST, "until there is a little again");
  assert.equal(rate({ latency: 1.1, buffer: 0.6, rate: SLOWEST }), 1);
  assert.equal(rate({ latency: 3.5, buffer: 0.2 }), 1, "far behind, slowing down helps nobody");
});

test("nearer to the edge than it should be, it falls back", () => {
  assert.ok(rate({ latency: 1.03, target: 1.7 }) < 1);
  assert.ok(rate({ latency: 1.5, target: 1.7, rate: 0.97 }) < 1);
  assert.equal(rate({ latency: 1.69, target: 1.7, rate: 0.97 }), 1);
});

test("far behind it jumps, except where the reader wanted to be behind", () => {
  assert.deepEqual(pace({ ...calm, latency: 9 }), { jump: true });
  assert.equal(rate({ latency: 9, byChoice: true }), 1);
});

test("figures that are not known change nothing", () => {
  for (const latency of [NaN, Infinity]) assert.equal(rate({ latency }), 1);
});

test("each stall moves the target back by a part, up to six, and a minute without one forgives one", () => {
  const target = new Target();
  const at = (now: number) => Math.round(target.seconds(now, 1, 0.25) * 100) / 100;
  assert.equal(at(0), 1);
  target.stalled(1000);
  target.stalled(2000);
  assert.equal(at(3000), 1.5);
  assert.equal(at(62_500), 1.25);
  assert.equal(at(10 * 60_000), 1);
  for (let i = 0; i < 20; i++) target.stalled(11 * 60_000 + i);
  assert.equal(at(11 * 60_000 + 30), 2.5);
});

test("a viewer who starts half a second late is at the target within twenty seconds, without one stall", () => {
  // The edge advances in parts; the buffer is what lies between the picture and the last whole part.
  const part = 1 / 3;
  let shown = 0;
  let playing = 1;
  let worst = Infinity;
  const begin = 1.6;
  for (let now = 0; now < 20; now += 0.25) {
    const latency = begin + now - shown;
    const edge = Math.floor((begin + now) / part) * part;
    const buffer = edge - shown;
    worst = Math.min(worst, buffer);
    playing = rate({ latency, buffer, rate: playing });
    shown += playing * 0.25;
  }
  const latency = begin + 20 - shown;
  assert.ok(Math.abs(latency - calm.target) < 0.16, `latency ${latency}`);
  assert.ok(worst > 0.5, `buffer ${worst}`);
});
