import assert from "node:assert/strict";
import { test } from "node:test";
import { BoxClock } from "../pages/lib/clock";

/** An answer of a box whose clock is `offset` ms ahead, asked at `now`; there and back take `way` ms each. */
function answer(clock: BoxClock, now: number, offset: number, way = 5, age: string | null = null): number {
  const date = new Date(Math.floor((now + way + offset) / 1000) * 1000).toUTCString();
  clock.heard(date, now, now + 2 * way, age);
  return now + 2 * way;
}

test("nothing is said before enough is known", () => {
  const clock = new BoxClock();
  assert.equal(clock.at(0), null);
  answer(clock, 1_700_000_000_000, 0);
  assert.equal(clock.at(1_700_000_000_000), null, "one answer knows it to a second");
});

for (const offset of [0, 123_456, -98_765_432, 499, -1]) {
  test(`a few questions at chosen moments find an offset of ${offset} ms`, () => {
    const clock = new BoxClock();
    let now = 1_700_000_000_321;
    for (let i = 0; i < 7; i++) now = answer(clock, now + clock.ask(now), offset);
    const found = clock.at(now);
    assert.ok(found !== null);
    assert.ok(Math.abs(found - now - offset) <= clock.within + 1e-6);
    assert.ok(clock.within <= 20, `within ${clock.within} ms`);
  });
}

test("answers out of a cache, without a date, or absurd ones teach nothing", () => {
  const clock = new BoxClock();
  const now = 1_700_000_000_000;
  answer(clock, now, 50_000, 5, "3");
  clock.heard(null, now, now + 5);
  clock.heard("yesterday", now, now + 5);
  clock.heard(new Date(now).toUTCString(), now, now - 5);
  assert.equal(clock.within, Infinity);
});

test("a clock that was set is followed", () => {
  const clock = new BoxClock();
  let now = 1_700_000_000_000;
  for (let i = 0; i < 8; i++) now = answer(clock, now + clock.ask(now), 0);
  for (let i = 0; i < 9; i++) now = answer(clock, now + clock.ask(now), 60_000);
  const found = clock.at(now);
  assert.ok(found !== null && Math.abs(found - now - 60_000) < 50, String(found));
});
