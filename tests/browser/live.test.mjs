// The pages against a real box, media and all. Skipped unless PROSCENIUM_URL names one:
//   PROSCENIUM_URL=http://127.0.0.1:8080 PROSCENIUM_ROOM=class PROSCENIUM_TOKEN=... node run.mjs live.test.mjs
// Where the room is free, a teacher (Chromium with a fake camera and microphone) goes live in it first; where a class
// runs in it already (proscenium demo), that one is watched. SECONDS: how long each codec is watched, 60 by default.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FAKE_DEVICES, figures, launch, open, picture, until } from "./browser.mjs";

const { PROSCENIUM_URL: url, PROSCENIUM_ROOM: room = "class", PROSCENIUM_TOKEN: token = "" } = process.env;
const SECONDS = Number(process.env.SECONDS ?? 60);

describe("a class on a real box", { skip: url ? false : "PROSCENIUM_URL names no box" }, () => {
  let desk;
  let seat;
  let teacher;
  let viewer;
  let teaching = false;

  const state = async () => {
    const answer = await fetch(`${url}/api/v1/rooms/${room}`);
    return answer.ok ? (await answer.json()).state : null;
  };

  before(async () => {
    teaching = (await state()) !== "live";
    // Two browsers, as in life: nothing of the one's media stack helps the other.
    [desk, seat] = await Promise.all([teaching ? launch({ more: FAKE_DEVICES }) : null, launch()]);
  });
  after(async () => {
    await Promise.all([desk?.close(), seat?.close()]);
  });

  test("before the class the watch page waits", async (t) => {
    viewer = await open(seat, `${url}/watch/${room}`);
    if (!teaching) return t.skip("a class runs already");
    await until(viewer, "waiting or ended", (f) => f.phase === "waiting" || f.phase === "ended");
    await picture(viewer, "live-waiting");
  });

  test("the teacher goes live", async (t) => {
    if (!teaching) return t.skip("a class runs already");
    teacher = await open(desk, `${url}/teach/${room}#token=${token}`);
    await teacher.waitForSelector("#go:enabled");
    await teacher.click("#go");
    await teacher.waitForSelector('#state[data-state="live"]', { timeout: 20_000 });
    await teacher.waitForSelector('#health[data-health="good"]', { timeout: 20_000 });
    await picture(teacher, "live-teacher");
  });

  test("the waiting viewer sees the class by itself", async () => {
    const now = await until(viewer, "playing", (f) => f.phase === "playing" && f.level, 60);
    assert.ok(now.levels.some((l) => l.endsWith("H.264")), String(now.levels));
    await viewer.waitForTimeout(1500);
    await picture(viewer, "live-playing");
  });

  for (const codec of ["H.264", "AV1"]) {
    test(`${codec}, chosen in the menu, plays for ${SECONDS} s without a stall or an error`, async () => {
      const { levels } = await figures(viewer);
      // The box offers what it can make in real time: the middle of the ladder is what a pupil's laptop gets.
      const label = levels.filter((l) => l.endsWith(codec)).sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))[0];
      assert.ok(label, `${codec} among ${levels}`);
      await viewer.mouse.move(600, 400);
      await viewer.click("#quality");
      await viewer.getByRole("menuitemradio", { name: label, exact: true }).click();
      await until(viewer, label, (f) => f.level?.label === label && f.phase === "playing", 20);
      await viewer.waitForTimeout(2000);
      const begin = await figures(viewer);
      await viewer.waitForTimeout(SECONDS * 1000);
      const end = await figures(viewer);
      await picture(viewer, `live-${codec}`);
      assert.equal(end.level?.label, label);
      assert.equal(end.stalls - begin.stalls, 0, `stalled ${end.stalledMs - begin.stalledMs} ms`);
      assert.equal(end.recoveries, begin.recoveries);
      assert.deepEqual(end.errors.slice(begin.errors.length), []);
      const played = end.time - begin.time;
      assert.ok(Math.abs(played - SECONDS) < 0.06 * SECONDS + 1, `${played} s played in ${SECONDS} s`);
      assert.ok(end.frames.shown - begin.frames.shown > SECONDS * 12, `${end.frames.shown - begin.frames.shown} frames`);
    });
  }

  test("the teacher shares a screen beside the camera and stops again, and the class goes on", async (t) => {
    if (!teaching) return t.skip("not our class");
    const begin = await figures(viewer);
    for (const shared of ["true", "false"]) {
      await teacher.click("#share");
      await teacher.waitForSelector(`#stage[data-screen=${shared}]`);
      const { time } = await figures(viewer);
      await until(viewer, "the class goes on", (f) => f.phase === "playing" && f.time > time + 3, 30);
      assert.equal(await teacher.getAttribute("#state", "data-state"), "live");
    }
    assert.equal((await figures(viewer)).session, begin.session);
  });

  test("the teacher ends the class, and the viewer is told", async (t) => {
    if (!teaching) return t.skip("not our class");
    await teacher.click("#go");
    await teacher.click("#end-all:visible");
    await teacher.waitForFunction(() => document.querySelector("#go").textContent === "Go live");
    await until(viewer, "ended", (f) => f.phase === "ended", 60);
    await picture(viewer, "live-ended");
    assert.deepEqual(teacher.complaints, []);
    assert.deepEqual(viewer.complaints, []);
  });
});
