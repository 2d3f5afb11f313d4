// A class with a stage on a real box: teacher, speaker and viewer in three browsers. What reaches the class is read from
// what the viewer's player shows and sounds: everybody sends a colour and a tone of their own. Skipped unless
// PROSCENIUM_URL names a box whose room is free:
//   PROSCENIUM_URL=http://127.0.0.1:8080 PROSCENIUM_ROOM=class PROSCENIUM_TOKEN=... node run.mjs stage.test.mjs
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FAKE_DEVICES, launch, open, picture, until } from "./browser.mjs";

const { PROSCENIUM_URL: url, PROSCENIUM_ROOM: room = "class", PROSCENIUM_TOKEN: token = "" } = process.env;
const WAIT = 45_000;

/** Hue in degrees and tone in hertz of each source. */
const TEACHER = { hue: 220, tone: 440 };
const SPEAKER = { hue: 320, tone: 1000 };
const SCREEN = { hue: 60, tone: null };

/** In the page: camera, microphone and screen that are known again at the other end. */
const sources = (own) => `{
  const video = (hue, width, height) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    let step = 0;
    setInterval(() => {
      context.fillStyle = "hsl(" + hue + " 90% 50%)";
      context.fillRect(0, 0, width, height);
      context.fillStyle = "hsl(" + hue + " 90% 42%)";
      context.fillRect((step += 6) % width, 0, 20, height);
    }, 66);
    return canvas.captureStream(15).getVideoTracks()[0];
  };
  const audio = (hertz) => {
    const context = new AudioContext({ sampleRate: 48000 });
    const tone = context.createOscillator();
    const gain = context.createGain();
    const out = context.createMediaStreamDestination();
    tone.frequency.value = hertz;
    gain.gain.value = 0.4;
    tone.connect(gain).connect(out);
    tone.start();
    return out.stream.getAudioTracks()[0];
  };
  navigator.mediaDevices.getUserMedia = async (want) => new MediaStream([
    ...(want.video ? [video(${own.hue}, 640, 360)] : []),
    ...(want.audio ? [audio(${own.tone})] : []),
  ]);
  navigator.mediaDevices.getDisplayMedia = async () => new MediaStream([video(${SCREEN.hue}, 1280, 720)]);
}`;

/** In the viewer's page: how much of the picture has which hue, and which tones are in the sound. */
const senses = `window.sense = () => {
  const video = document.querySelector("#video");
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0, 64, 36);
  const { data } = context.getImageData(0, 0, 64, 36);
  const shares = {};
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    const most = Math.max(r, g, b), least = Math.min(r, g, b);
    if (most - least < 60) continue;
    const turn = most === r ? ((g - b) / (most - least)) % 6 : most === g ? (b - r) / (most - least) + 2 : (r - g) / (most - least) + 4;
    const hue = (turn * 60 + 360) % 360;
    for (const known of [${TEACHER.hue}, ${SPEAKER.hue}, ${SCREEN.hue}]) {
      if (Math.abs(((hue - known + 540) % 360) - 180) < 25) shares[known] = (shares[known] ?? 0) + 4 / data.length;
    }
  }
  const ear = window.ear ??= (() => {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 8192;
    analyser.smoothingTimeConstant = 0.3;
    const source = context.createMediaElementSource(video);
    source.connect(analyser);
    source.connect(context.destination);
    return { context, analyser, bins: new Float32Array(analyser.frequencyBinCount) };
  })();
  ear.analyser.getFloatFrequencyData(ear.bins);
  const level = (hertz) => Math.max(...ear.bins.slice(Math.round(hertz / ear.context.sampleRate * 8192) - 2).slice(0, 5));
  return { shares, tones: { ${TEACHER.tone}: level(${TEACHER.tone}), ${SPEAKER.tone}: level(${SPEAKER.tone}) } };
};`;

/** Decibels of the analyser: a tone that is there is far above the one, one that is not far below the other. */
const HEARD = -60;
const SILENT = -75;

describe("a stage on a real box", { skip: url ? false : "PROSCENIUM_URL names no box" }, () => {
  const browsers = [];
  let teacher;
  let speaker;
  let viewer;
  /** What the viewer sensed last, for the message when a wait runs out. */
  let last;

  const visit = async (path, script) => {
    const browser = await launch({ more: FAKE_DEVICES });
    browsers.push(browser);
    const page = await open(browser, url + path, {}, script);
    page.setDefaultTimeout(WAIT);
    return page;
  };
  const share = (of) => last.shares[of.hue] ?? 0;
  const sensed = async (what, test) => {
    const end = Date.now() + WAIT;
    for (;;) {
      last = await viewer.evaluate(() => window.sense());
      if (test()) return;
      if (Date.now() > end) throw new Error(`not within ${WAIT / 1000} s: ${what}; the viewer has ${JSON.stringify(last)}`);
      await viewer.waitForTimeout(250);
    }
  };
  const moves = (page, selector) => page.waitForFunction((selector) => {
    const video = document.querySelector(selector);
    if (!video || video.videoWidth === 0 || video.paused) return false;
    window.times ??= new Map();
    const before = window.times.get(selector) ?? video.currentTime;
    window.times.set(selector, before);
    return video.currentTime > before + 0.3;
  }, selector);
  const told = (key) => speaker.waitForSelector(`#told[data-told="watch.told.${key}"]`);
  const others = (media = "camera") => `.tile[data-person][data-media=${media}]`;

  before(async () => {
    teacher = await visit(`/teach/${room}#token=${token}`, sources(TEACHER));
    speaker = await visit(`/watch/${room}`, sources(SPEAKER));
    viewer = await visit(`/watch/${room}`, senses);
  });
  after(async () => {
    await Promise.all(browsers.map((browser) => browser.close()));
  });

  test("the teacher goes live, and the class sees and hears it", async () => {
    await teacher.click("#go:enabled");
    await teacher.waitForSelector('#state[data-state="live"]');
    await teacher.waitForSelector("#hands-panel:visible");
    for (const page of [speaker, viewer]) await until(page, "playing", (f) => f.phase === "playing" && f.level, 90);
    await sensed("the teacher alone", () => share(TEACHER) > 0.8 && last.tones[TEACHER.tone] > HEARD);
  });

  test("a hand is raised, called up, and on stage", async (t) => {
    await speaker.click("#raise:visible");
    await speaker.fill("#name-dialog input", "Mia Maier");
    await speaker.press("#name-dialog input", "Enter");
    await told("raised");
    await teacher.waitForSelector(".hand");
    assert.equal(await teacher.textContent(".hand b"), "Mia Maier");
    await picture(teacher, "real-desk-hand");
    await teacher.getByRole("button", { name: "Call Mia Maier up to the stage" }).click();
    await speaker.click("#join:visible");
    await speaker.waitForSelector("#check[open] #check-go:enabled");
    await picture(speaker, "real-check");
    const began = Date.now();
    const asked = [];
    speaker.on("response", (response) => {
      if (/\/(whip|whep)\//.test(response.url())) asked.push(`${response.request().method()} ${response.url().split("/")[3]} ${response.status()} at ${Date.now() - began} ms`);
    });
    await speaker.click("#check-go");
    await until(speaker, "on stage", (f) => f.where === "stage", 45);
    t.diagnostic(`on stage ${Date.now() - began} ms after the click`);
    await speaker.waitForSelector(`${others()}[data-state=connected]`);
    t.diagnostic(`connected to the teacher's ${Date.now() - began} ms after the click`);
    await moves(speaker, `${others()} video`);
    t.diagnostic(`the teacher seen there ${Date.now() - began} ms after the click (${asked.join(", ")})`);
    assert.equal(await speaker.evaluate(() => document.querySelector("#video").readyState), 0, "the class's own sound is gone");
    await moves(teacher, `${others()} video`);
    assert.equal(await teacher.textContent(`${others()} .who`), "Mia Maier");
    await picture(speaker, "real-speaker");
    await picture(teacher, "real-desk-stage");
  });

  test("the class hears the speaker, and sees both", async () => {
    await teacher.check("#layouts input[value=grid]", { force: true });
    await sensed("both, alike", () => share(TEACHER) > 0.2 && share(SPEAKER) > 0.2);
    await sensed("both tones", () => last.tones[SPEAKER.tone] > HEARD && last.tones[TEACHER.tone] > HEARD);
    await picture(viewer, "real-grid");
  });

  test("the layout changes: the pinned one alone, and all alike again", async () => {
    await teacher.click(`${others()} [data-tool=pin]`);
    await teacher.check("#layouts input[value=single]", { force: true });
    await sensed("the speaker alone", () => share(SPEAKER) > 0.8 && share(TEACHER) < 0.02);
    await picture(viewer, "real-single");
    await teacher.click("#unpin:visible");
    await teacher.check("#layouts input[value=auto]", { force: true });
    await teacher.waitForFunction(() => document.querySelector("#layouts input[value=auto]").checked);
  });

  test("the teacher shares a screen beside the camera", async () => {
    await teacher.click("#share");
    await teacher.waitForSelector("#own-screen:visible");
    await moves(speaker, `${others("screen")} video`);
    await sensed("the screen, large", () => share(SCREEN) > 0.5);
    await picture(viewer, "real-screen");
    await picture(speaker, "real-speaker-screen");
    await teacher.click("#share");
    await speaker.waitForSelector(others("screen"), { state: "detached" });
    await sensed("no screen", () => share(SCREEN) < 0.02);
  });

  test("the chat reaches everybody", async () => {
    await viewer.click("#chat-toggle:visible");
    await speaker.click("#chat-toggle:visible");
    await speaker.fill("#chat textarea", "Can you all hear me?");
    await speaker.press("#chat textarea", "Enter");
    for (const page of [viewer, teacher]) await page.waitForSelector('.line .text:has-text("hear me")');
    await teacher.getByRole("button", { name: "Delete what Mia Maier wrote" }).click();
    await viewer.waitForSelector('.line[data-deleted="true"]');
    await picture(viewer, "real-chat");
  });

  test("the speaker is muted, heard again, and taken off the stage", async () => {
    await teacher.click(`${others()} [data-tool=mute]`);
    await told("muted");
    await sensed("the teacher's tone alone", () => last.tones[SPEAKER.tone] < SILENT && last.tones[TEACHER.tone] > HEARD);
    await teacher.click(`${others()} [data-tool=mute]`);
    await told("unmuted");
    await sensed("both tones", () => last.tones[SPEAKER.tone] > HEARD);
    await teacher.click(`${others()} [data-tool=remove]`);
    await told("gone");
    await until(speaker, "the class again", (f) => f.phase === "playing" && f.where === "audience", 45);
    await teacher.waitForSelector(others(), { state: "detached" });
    await sensed("the teacher alone", () => share(TEACHER) > 0.8 && share(SPEAKER) < 0.02 && last.tones[SPEAKER.tone] < SILENT);
    await picture(speaker, "real-gone");
  });

  test("the teacher ends the class for everybody", async () => {
    await teacher.click("#go");
    await teacher.click("#end-all:visible");
    await teacher.waitForFunction(() => document.querySelector("#go").textContent === "Go live");
    for (const page of [speaker, viewer]) await until(page, "ended", (f) => f.phase === "ended", 60);
    // Somebody who is taken off the stage has no sessions left to end, or to look at.
    const gone = /^40[34] for (DELETE|PUT|POST) \S+\/(whip|whep)\//;
    for (const page of [teacher, speaker, viewer]) assert.deepEqual(page.complaints.filter((complaint) => !gone.test(complaint)), []);
  });
});
