import assert from "node:assert/strict";
import { test } from "node:test";
import { arrange } from "../pages/lib/arrange";
import { fitName } from "../pages/lib/ask";
import { layersFor } from "../pages/lib/layers";
import { KEEP, merge, readPage, type Line } from "../pages/lib/log";
import { period, readHands, readMe, readStage, type Nearness, type Stage } from "../pages/lib/stage";
import { roleOf } from "../pages/lib/token";
import { go, hear, START, type Way } from "../pages/watch/way";

const said = {
  version: 17, live: true, locked: false, layout: "grid", pinned: null, speaker: "a",
  people: [{ id: "a", name: "Ada", role: "teacher", camera: true, screen: false, muted: false }],
  invited: ["b"], hands: 3, chat: { last: 41, slow_s: 5, open: true },
};

test("a stage is read with care", () => {
  assert.deepEqual(readStage(said), { ...said, chat: { last: 41, slow: 5, open: true } });
  const odd = readStage({ version: 1, layout: "upside-down", people: [{ name: "nobody" }, 3, { id: "c", role: "king", camera: 1 }], invited: [null, "", "d"], hands: -4, chat: 9 });
  assert.deepEqual(odd, {
    version: 1, live: false, locked: false, layout: "auto", pinned: null, speaker: null,
    people: [{ id: "c", name: "", role: "speaker", camera: false, screen: false, muted: false }],
    invited: ["d"], hands: 0, chat: { last: 0, slow: 0, open: true },
  });
  for (const value of [null, [], "stage", {}, { version: "17" }]) assert.equal(readStage(value), null);
  assert.deepEqual(readHands({ hands: [{ id: "a", name: "A", since_ms: 5, invited: true }, {}, null] }), [{ id: "a", name: "A", since: 5, invited: true }]);
  assert.deepEqual(readHands(null), []);
  assert.deepEqual(readMe({ id: "a", role: "emperor", state: "flying" }), { id: "a", name: "", role: "viewer", state: "audience", muted: false });
  assert.equal(readMe({}), null);
});

test("the stage is asked for once a second at most, less by those who only watch, and never in step", () => {
  for (const near of ["on-stage", "waiting", "reading", "watching"] as Nearness[]) {
    for (const hidden of [false, true]) {
      assert.ok(period(near, hidden, 0) >= 1000, near);
      assert.ok(period(near, hidden, 0.999) > 1.3 * period(near, hidden, 0), "a third is chance");
      assert.ok(period(near, true, 0.5) > period(near, false, 0.5), "rarer in the back");
    }
  }
  assert.ok(period("watching", false, 0) > 2 * period("waiting", false, 0));
  assert.ok(period("waiting", true, 1) < 5000, "whoever waits to be called up hears of it in the back too");
});

test("tiles fill the stage without overlapping, whatever their number", () => {
  for (const [width, height] of [[1280, 720], [390, 390], [360, 640], [900, 300]] as const) {
    for (let count = 1; count <= 17; count++) {
      for (const focus of [null, 0, count - 1]) {
        const rects = arrange(count, focus, width, height);
        assert.equal(rects.length, count);
        for (const [i, r] of rects.entries()) {
          assert.ok(r.width > 20 && r.height > 10, `${count} of ${width}x${height}: ${JSON.stringify(r)}`);
          assert.ok(r.x >= -0.01 && r.y >= -0.01 && r.x + r.width <= width + 0.01 && r.y + r.height <= height + 0.01, "inside");
          for (const o of rects.slice(i + 1)) {
            assert.ok(r.x + r.width <= o.x + 0.01 || o.x + o.width <= r.x + 0.01 || r.y + r.height <= o.y + 0.01 || o.y + o.height <= r.y + 0.01, "apart");
          }
        }
        const largest = Math.max(...rects.map((r) => r.width * r.height));
        if (focus !== null && count > 1) assert.equal(rects[focus]!.width * rects[focus]!.height, largest, "the one in focus is the largest");
      }
    }
  }
  assert.deepEqual(arrange(0, null, 100, 100), []);
  assert.deepEqual(arrange(3, null, 0, 100), []);
});

test("a camera goes out in three sizes that add up, a screen in one, and one is the whole picture", () => {
  const camera = layersFor("camera", 3);
  assert.deepEqual(camera.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy]), [["q", 4], ["h", 2], ["f", 1]]);
  assert.ok(camera.reduce((sum, layer) => sum + layer.maxBitrate, 0) <= 2_500_000);
  for (const layers of [layersFor("screen", 3), layersFor("camera", 1), layersFor("camera", 2)]) {
    assert.deepEqual(layers, [{ scaleResolutionDownBy: 1, maxBitrate: 2_500_000, maxFramerate: 30 }]);
  }
});

const line = (seq: number, text = `m${seq}`): Line => ({ seq, at: 1, id: "x", name: "X", teacher: false, text, deleted: false });

test("the chat is put together from its pages: in order, each once, deletions applied", () => {
  const page = readPage({ last: 4, more: true, messages: [{ seq: 2, at_ms: 7, id: "a", name: "A", role: "teacher", text: "<b>hi</b>" }, { seq: 1, deleted: true }, { seq: "3" }, null, { seq: 4 }] });
  assert.deepEqual([page.last, page.more, page.lines.length], [4, true, 2]);
  assert.deepEqual(page.lines[0], { seq: 2, at: 7, id: "a", name: "A", teacher: true, text: "<b>hi</b>", deleted: false });
  const log = merge([line(1), line(3)], [line(2), line(3)]);
  assert.deepEqual(log.map(({ seq }) => seq), [1, 2, 3]);
  const after = merge(log, [{ ...line(2, ""), deleted: true }, { ...line(9, ""), deleted: true }]);
  assert.deepEqual(after.map(({ seq, deleted }) => [seq, deleted]), [[1, false], [2, true], [3, false]], "what was never had leaves no trace");
  const long = merge([], Array.from({ length: 2 * KEEP }, (_, i) => line(i + 1)));
  assert.deepEqual([long.length, long[0]!.seq], [KEEP, KEEP + 1]);
  assert.deepEqual(readPage("?"), { last: 0, more: false, lines: [] });
});

const stage = (change: Partial<Stage>): Stage => ({ ...readStage({ version: 1, live: true })!, ...change });
const person = (id: string, muted = false) => ({ id, name: "", role: "speaker" as const, camera: true, screen: false, muted });

test("called up, taken back, declined: the way to the stage, though answers come late", () => {
  let way: Way = go(START, "hand", 0, { me: "me" });
  const step = (now: number, change: Partial<Stage>) => {
    const heard = hear(way, stage(change), now);
    way = heard.way;
    return heard;
  };
  assert.equal(hear(START, stage({ invited: ["me"] }), 0).news, null, "nobody knows me yet");
  assert.equal(step(1000, { hands: 2, invited: ["other"] }).news, null);
  assert.equal(step(2000, { hands: 2, invited: ["other", "me"] }).news, "called");
  assert.equal(step(2500, { hands: 2 }).news, null, "an older answer out of a cache");
  assert.equal(way.where, "called");
  assert.equal(step(9000, { hands: 2 }).news, "withdrawn");
  assert.equal(way.where, "hand");
  assert.equal(step(10_000, { invited: ["me"] }).news, "called");
  way = go(way, "audience", 11_000, { declined: 11_000 });
  assert.equal(step(11_500, { invited: ["me"] }).news, null, "the one that was just declined");
  assert.equal(step(12_500, {}).way.declined, null);
  assert.equal(step(13_000, { invited: ["me"] }).news, "called", "a new one");
});

test("a hand that the teacher lowered is asked after, and so is one that has been up for long", () => {
  const way = go(START, "hand", 0, { me: "me" });
  assert.equal(hear(way, stage({ hands: 0 }), 2000).doubt, false, "it may not be in the answer yet");
  assert.equal(hear(way, stage({ hands: 0 }), 6000).doubt, true);
  assert.equal(hear(way, stage({ hands: 4 }), 6000).doubt, false);
  assert.equal(hear(way, stage({ hands: 4 }), 16_000).doubt, true);
});

test("on stage: muted and heard again is news, a roster without oneself is doubt, once it had named one", () => {
  let way = go(START, "stage", 0, { me: "me" });
  assert.equal(hear(way, stage({}), 3000).doubt, false, "an answer from before");
  assert.equal(hear(way, stage({}), 11_000).doubt, true, "but not for ever");
  ({ way } = hear(way, stage({ people: [person("me")] }), 4000));
  const muted = hear(way, stage({ people: [person("me", true)] }), 5000);
  assert.deepEqual([muted.news, muted.way.muted], ["muted", true]);
  assert.equal(hear(muted.way, stage({ people: [person("me", true)] }), 6000).news, null, "told once");
  assert.equal(hear(muted.way, stage({ people: [person("me")] }), 7000).news, "unmuted");
  assert.equal(hear(way, stage({ people: [person("other")] }), 8000).doubt, true);
});

test("names fit into 80 bytes and one line", () => {
  assert.equal(fitName("  Ada \n\t Lovelace\u202e "), "Ada Lovelace");
  assert.equal(new TextEncoder().encode(fitName("ä".repeat(60))).length, 80);
  assert.equal(fitName("👩‍🏫".repeat(30)).length > 0, true);
  assert.equal(fitName("\u0000 "), "");
});

test("a token's role is what it says, as far as it says anything", () => {
  assert.equal(roleOf(`x.${Buffer.from('{"role":"speaker"}').toString("base64url")}.y`), "speaker");
  for (const token of [null, "", "a.b.c", "x.bnVsbA.y"]) assert.equal(roleOf(token), null);
});
