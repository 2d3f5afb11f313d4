// The stage in the pages against a scripted box (box.mjs, play.mjs) with real media behind it (peer.mjs): hands, being
// called up, on stage and back, the teacher's desk, the chat. stage.test.mjs has the same against a real box.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Box } from "./box.mjs";
import { FAKE_DEVICES, figures, launch, open, picture, until } from "./browser.mjs";
import { Peer, PEER_ARGUMENTS } from "./peer.mjs";
import { token } from "./play.mjs";

const WAIT = 25_000;
let box;
let browser;
let pages = [];

before(async () => {
  box = await Box.start();
  browser = await launch({ more: [...FAKE_DEVICES, ...PEER_ARGUMENTS] });
  box.peer = await Peer.start(browser);
});
after(async () => {
  await browser?.close();
  await box?.stop();
});
afterEach(async () => {
  for (const page of pages) await page.context().close();
  pages = [];
  for (const session of box.sessions.values()) if (session.open) await box.peer.hangUp(session.id);
  box.sessions.clear();
  box.rooms.clear();
});

async function visit(path, options, script) {
  const page = await open(browser, box.url + path, options, script);
  page.setDefaultTimeout(WAIT);
  pages.push(page);
  return page;
}
function begin(name = "stage", title = "Physics: waves and light") {
  box.begin(name);
  box.rooms.get(name).title = title;
  return box.rooms.get(name).play;
}
/** Waits for something of the double's. */
async function eventually(what, test) {
  const end = Date.now() + WAIT;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${WAIT / 1000} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
const told = (page, key) => page.waitForSelector(`#told[data-told="watch.told.${key}"]`);
const where = (page, at) => until(page, at, (f) => f.where === at, 25);
const session = (protocol, media = "camera") => [...box.sessions.values()].filter((s) => s.protocol === protocol && s.media === media && s.open).at(-1);
/** The picture in a tile moves. */
const moves = (page, selector) => page.waitForFunction((selector) => {
  const video = document.querySelector(selector);
  return video && video.videoWidth > 0 && video.currentTime > 0.2 && !video.paused;
}, selector);

/** A viewer whose class plays. */
async function viewer(options, hash = "") {
  const page = await visit(`/watch/stage${hash}`, options);
  await page.waitForSelector("#raise:visible");
  return page;
}
/** From the audience to a raised hand, as a guest. */
async function raise(page, name = "Mia") {
  await page.click("#raise");
  await page.fill("#name-dialog input", name);
  await page.press("#name-dialog input", "Enter");
  await told(page, "raised");
}
/** All the way up. */
async function up(page, play, { soundOnly = false } = {}) {
  await raise(page);
  play.invite(play.raised);
  await page.click("#join");
  await page.waitForSelector("#check[open] #check-go:enabled");
  if (soundOnly) await page.check("#check-sound");
  await page.click("#check-go");
  await where(page, "stage");
}

describe("a viewer", () => {
  test("raises a hand as a guest, is asked for a name once, and lowers it again", async () => {
    const play = begin();
    const page = await viewer();
    assert.equal(await page.textContent("#raise-text"), "Raise hand");
    await page.click("#raise");
    await page.waitForSelector("#name-dialog[open]");
    await page.keyboard.press("Escape");
    await page.waitForSelector("#name-dialog:not([open])", { state: "attached" });
    assert.equal(play.raised, undefined, "who gives no name raises no hand");
    await raise(page, "  Mia   Maier ");
    assert.equal(play.people.get(play.raised).name, "Mia Maier");
    assert.equal(await page.getAttribute("#raise", "aria-pressed"), "true");
    assert.equal(await page.textContent("#raise-text"), "Lower hand");
    await picture(page, "stage-hand");
    await page.click("#raise");
    await told(page, "lowered");
    assert.equal(play.raised, undefined);
    // The same person, without a question.
    await page.click("#raise");
    await told(page, "raised");
    assert.equal(play.with("hand").length, 1);
    assert.equal(play.people.size, 1, "a guest stays the same guest");
    const kept = await page.evaluate(() => [localStorage.getItem("name"), sessionStorage.getItem("token/stage") !== null]);
    assert.deepEqual(kept, ["Mia Maier", true]);
    await page.reload();
    await page.waitForSelector('#raise[aria-pressed="true"]:visible');
    assert.deepEqual(page.complaints, []);
  });

  test("is called up, looks at camera and microphone, goes on stage, and steps down to the live edge", async () => {
    const play = begin();
    play.enter("t", "Ms Ada", { role: "teacher" });
    play.speaker = "t";
    const page = await viewer();
    await until(page, "playing", (f) => f.phase === "playing" && f.level);
    await raise(page);
    play.invite(play.raised);
    await page.waitForSelector("#called:visible");
    assert.equal(await page.getAttribute("#called", "role"), "alert");
    assert.match(await page.title(), /^●/);
    await page.waitForFunction(() => document.activeElement.id === "join");
    await picture(page, "stage-called");
    await page.click("#join");
    await page.waitForSelector("#check[open] #check-go:enabled");
    await moves(page, "#check-video");
    await page.waitForFunction(() => Number(document.querySelector("#check-meter").getAttribute("aria-valuenow")) > 5);
    await picture(page, "stage-check");
    assert.equal((await figures(page)).phase, "playing", "the class goes on meanwhile");
    await page.click("#check-go");
    await where(page, "stage");
    // No echo: the class's own sound is gone.
    await page.waitForFunction(() => document.querySelector("#video").readyState === 0);
    await moves(page, '.tile[data-person="t"] video');
    await page.waitForSelector('.tile[data-person="t"][data-speaking="true"]');
    assert.equal(await page.textContent('.tile[data-person="t"] .who'), "Ms Ada");
    const heard = await page.evaluate(() => {
      const video = document.querySelector('.tile[data-person="t"] video');
      return [video.muted, video.srcObject.getAudioTracks().length];
    });
    assert.deepEqual(heard, [false, 1]);
    const sent = session("whip");
    const got = await eventually("picture and sound arrive", async () => {
      const figures = await box.peer.received(sent.id);
      return figures.frames > 3 && figures.sound > 3 && figures;
    });
    assert.ok(got.width >= 320, `a box that takes one layer gets the whole picture, not ${got.width}x${got.height}`);
    assert.match(sent.offer, /a=simulcast:send q;h;f/);
    for (const rid of ["q", "h", "f"]) assert.match(sent.offer, new RegExp(`a=rid:${rid} send`));
    await picture(page, "stage-up");
    await page.click("#leave");
    await told(page, "stepped");
    const back = await until(page, "the class again", (f) => f.phase === "playing" && f.level, 25);
    assert.ok(back.latency === null || back.latency < 5, `at the edge, not ${back.latency}`);
    await eventually("the box is told", () => play.calls.some((call) => call.startsWith("DELETE people/")));
    await eventually("all sessions end", () => [...box.sessions.values()].every((s) => !s.open));
    assert.equal(await page.isVisible("#tiles"), false);
    assert.equal(back.recoveries, 0, "stepping down is no loss");
    assert.deepEqual(page.complaints, []);
  });

  test("may say not now, and is not asked again by an older answer; an invitation may be taken back", async () => {
    const play = begin();
    const page = await viewer();
    await raise(page);
    const id = play.raised;
    play.invite(id);
    await page.waitForSelector("#called:visible");
    await page.click("#decline");
    await told(page, "declined");
    await eventually("the box is told", () => play.calls.includes(`DELETE invitations/${id}`));
    assert.equal(await page.isVisible("#called"), false);
    await page.click("#raise");
    await told(page, "raised");
    play.invite(id);
    await page.waitForSelector("#called:visible");
    await page.click("#join");
    await page.waitForSelector("#check[open]");
    play.change(id, { state: "hand" });
    await told(page, "withdrawn");
    await page.waitForSelector("#check:not([open])", { state: "attached" });
    assert.equal((await figures(page)).where, "hand");
    assert.equal([...box.sessions.values()].length, 0, "nothing was sent");
  });

  test("goes on stage with sound alone, mutes themselves, and is told kindly of being muted and of being taken off", async () => {
    const play = begin();
    play.enter("t", "Ms Ada", { role: "teacher" });
    const page = await viewer();
    await up(page, play, { soundOnly: true });
    const [id] = [...play.people.keys()].filter((one) => one !== "t");
    assert.equal(await page.isVisible("#cam"), false);
    assert.equal(await page.getAttribute("#own", "data-source"), "none");
    await page.click("#mic");
    assert.equal(await page.getAttribute("#mic", "aria-pressed"), "true");
    assert.equal(await page.getAttribute("#own", "data-muted"), "true");
    await eventually("everybody may see it", () => play.people.get(id).muted);
    await page.click("#mic");
    await eventually("and that it is on again", () => !play.people.get(id).muted);
    // The page must have seen itself on the roster, or one without it would mean nothing.
    await until(page, "on the roster", (f) => f.onRoster);
    assert.equal(await page.getAttribute("#told", "data-told"), "watch.told.on-stage", "one's own doing is no news");
    play.change(id, { muted: true, closed: true });
    await told(page, "muted");
    // They may press the button: what the teacher closed stays closed.
    const asked = () => play.calls.filter((call) => call === `PUT people/${id}`).length;
    for (const times of [3, 4]) {
      await page.click("#mic");
      await eventually("the box is asked", () => asked() === times);
    }
    assert.equal(play.people.get(id).muted, true);
    assert.equal(await page.getAttribute("#own", "data-muted"), "true");
    await picture(page, "stage-muted");
    play.change(id, { muted: false });
    await told(page, "unmuted");
    play.leave(id);
    await told(page, "gone");
    await until(page, "the class again", (f) => f.phase === "playing" && f.where === "audience", 25);
    assert.equal(await page.isVisible("#raise"), true);
  });

  test("tells the box how high each tile is shown: nothing while the page is hidden", async () => {
    const play = begin();
    play.enter("t", "Ms Ada", { role: "teacher" });
    const page = await viewer();
    await up(page, play);
    const first = await eventually("a height", () => play.views.find((view) => view.person === "t" && view.height > 50));
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await eventually("hidden", () => play.views.at(-1).height === 0);
    await page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await eventually("seen again", () => play.views.at(-1).height > 50);
    for (let i = 0; i < 5; i++) play.enter(`s${i}`, `Speaker ${i}`);
    await eventually("smaller among many", () => {
      const last = play.views.findLast((view) => view.person === "t");
      return last.height > 0 && last.height < first.height;
    });
    await page.waitForFunction(() => document.querySelectorAll('.tile[data-state="connected"]').length === 7);
    await picture(page, "stage-many");
    play.leave("s0");
    await page.waitForSelector('.tile[data-person="s0"]', { state: "detached" });
  });

  test("shares a screen beside the camera, sees the others' large, and the class's end leads back", async () => {
    const play = begin();
    play.enter("t", "Ms Ada", { role: "teacher", media: ["camera", "screen"] });
    const page = await viewer();
    await up(page, play);
    await moves(page, '.tile[data-person="t"][data-media="screen"] video');
    const [screen, camera] = await page.evaluate(() => ["screen", "camera"].map((media) => document.querySelector(`.tile[data-person="t"][data-media="${media}"]`).offsetHeight));
    assert.ok(screen > 2 * camera, `${screen} and ${camera}`);
    await page.click("#share");
    await page.waitForSelector("#own-screen:visible");
    const sent = await eventually("the screen is sent", () => session("whip", "screen"));
    assert.ok(!sent.offer.includes("a=simulcast"), "a screen has one layer");
    assert.ok(session("whip", "camera"), "the camera goes on");
    await picture(page, "stage-screens");
    await page.click("#share");
    await eventually("it ends", () => !session("whip", "screen"));
    box.finish("stage");
    await until(page, "ended", (f) => f.phase === "ended" && f.where === "audience", 25);
    assert.equal(await page.isVisible("#leave"), false);
  });

  test("whose link is a speaker's goes on stage without a hand", async () => {
    begin();
    const page = await viewer({}, `#token=${token({ sub: "guest-lecturer", role: "speaker", room: "stage", name: "Dr Noether" })}`);
    assert.equal(await page.textContent("#raise-text"), "Go on stage …");
    assert.equal(new URL(page.url()).hash, "");
    await page.click("#raise");
    await page.click("#check-go:enabled");
    await where(page, "stage");
  });

  test("is told when hands are not wanted, or come too often", async () => {
    const play = begin();
    const page = await viewer();
    await raise(page);
    await page.click("#raise");
    await told(page, "lowered");
    play.locked = true;
    await page.waitForSelector('#raise[aria-disabled="true"]');
    // It can be pressed all the same, and says why it does nothing.
    await page.click("#raise", { force: true });
    await told(page, "locked");
    assert.equal(await page.textContent("#raise-text"), "No more hands now");
  });

  test("asks for the stage only while a class runs, and never twice a second", async () => {
    box.room("stage");
    const page = await visit("/watch/stage");
    await until(page, "waiting", (f) => f.phase === "waiting");
    const asked = [];
    page.on("request", (request) => new URL(request.url()).pathname.endsWith("rooms/stage/stage") && asked.push(request));
    await page.waitForTimeout(1500);
    assert.deepEqual(asked, []);
    begin();
    await page.waitForSelector("#raise:visible");
    await raise(page);
    const before = asked.length;
    while (asked.length < before + 4) await page.waitForTimeout(100);
    await asked.at(-1).response();
    // By the browser's clock: when they are heard of here says how busy this machine is.
    const times = asked.map((request) => request.timing().startTime);
    for (const [i, at] of times.entries()) if (i) assert.ok(at - times[i - 1] > 900, `${at - times[i - 1]} ms between two questions`);
  });
});

describe("the chat", () => {
  test("opens beside the picture, counts what is unread, and takes a guest's words", async () => {
    const play = begin();
    play.write("Ada", "Welcome, everybody!", "teacher");
    const page = await viewer();
    await page.waitForSelector("#chat-toggle:visible");
    await until(page, "playing", (f) => f.phase === "playing" && f.level);
    await eventually("the page knows the stage", () => play.calls.includes("GET stage"));
    play.write("Ben", "Is the wave sinusoidal?");
    play.write("Ben", "<img src=x onerror=alert(1)>");
    await page.waitForSelector("#chat-count:has-text('2')");
    await page.click("#chat-toggle");
    await page.waitForFunction(() => document.querySelectorAll(".line").length === 3);
    assert.equal(await page.textContent(".line >> nth=2 >> .text"), "<img src=x onerror=alert(1)>");
    assert.equal(await page.isVisible("#chat-count"), false);
    await page.fill("#chat textarea", "I think so.");
    await page.press("#chat textarea", "Enter");
    await page.fill("#name-dialog input", "Mia");
    await page.press("#name-dialog input", "Enter");
    await page.waitForSelector(".line .text:has-text('I think so.')");
    assert.deepEqual([play.chat.at(-1).name, play.chat.at(-1).text], ["Mia", "I think so."]);
    assert.equal(await page.inputValue("#chat textarea"), "");
    const apart = await page.evaluate(() => {
      const [stage, chat] = ["#stage", "#chat"].map((one) => document.querySelector(one).getBoundingClientRect());
      return chat.left >= stage.right || chat.top >= stage.bottom;
    });
    assert.ok(apart, "the chat does not cover the picture");
    await picture(page, "chat-watch");
    await page.keyboard.press("Escape");
    await page.waitForSelector("#chat", { state: "hidden" });
    assert.deepEqual(page.complaints, []);
  });

  test("slow mode counts down and keeps what was typed; a closed chat says so; deletions reach everybody", async () => {
    const play = begin();
    play.slow = 30;
    const page = await viewer();
    await raise(page);
    await page.click("#chat-toggle");
    await page.fill("#chat textarea", "one");
    await page.press("#chat textarea", "Enter");
    await page.waitForSelector(".chat .words:has-text('Slow mode')");
    assert.equal(await page.isDisabled(".send"), true);
    await page.fill("#chat textarea", "two");
    await page.press("#chat textarea", "Enter");
    assert.equal(play.chat.length, 1);
    assert.equal(await page.inputValue("#chat textarea"), "two");
    play.delete(1);
    await page.waitForSelector('.line[data-deleted="true"]');
    play.open = false;
    await page.waitForSelector('.chat .words:has-text("closed")');
    assert.equal(await page.isDisabled("#chat textarea"), true);
  });
});

describe("the teacher's desk", () => {
  const teach = `/teach/stage#token=${token({ sub: "ada", role: "teacher", room: "stage", name: "Ms Ada" })}`;
  /** A teacher who is live. */
  async function desk(options) {
    const page = await visit(teach, options);
    await page.click("#go:enabled");
    await page.waitForSelector('#state[data-state="live"]');
    await page.waitForSelector("#hands-panel:visible");
    return page;
  }
  const hand = (page, id) => page.locator(`.hand[data-person="${id}"]`);
  const tool = (page, id, what) => page.locator(`.tile[data-person="${id}"] [data-tool=${what}]`);

  test("has the queue of hands with names: calls up, takes back, lowers", async () => {
    const play = begin();
    const page = await desk();
    assert.equal(await page.isVisible("#hands-none"), true);
    play.raise("m", "Mia");
    play.raise("b", "Ben <i>");
    await page.waitForFunction(() => document.querySelectorAll(".hand").length === 2);
    assert.deepEqual(await page.locator(".hand b").allTextContents(), ["Mia", "Ben <i>"]);
    assert.equal(await page.textContent("#hands-count"), "2");
    assert.match(await page.title(), /^\(2\)/);
    assert.match(await page.textContent("#heard"), /raised a hand/);
    await page.getByRole("button", { name: "Call Mia up to the stage" }).click();
    await eventually("Mia is invited", () => play.people.get("m").state === "invited");
    await page.waitForSelector('.hand[data-person="m"][data-invited="true"]');
    await picture(page, "desk-hands");
    await page.getByRole("button", { name: "Take the invitation to Mia back" }).click();
    await hand(page, "m").waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Lower Ben <i>’s hand" }).click();
    await page.waitForSelector("#hands-none:visible");
    assert.ok(play.calls.includes("DELETE hands/b"));
    await page.check("#lock");
    await eventually("locked", () => play.locked);
    assert.deepEqual(page.complaints, []);
  });

  test("shows everybody on stage as tiles with sound; pins, mutes, removes", async () => {
    const play = begin();
    const page = await desk();
    play.enter("m", "Mia");
    await moves(page, '.tile[data-person="m"] video');
    assert.equal(await page.evaluate(() => document.querySelector('.tile[data-person="m"] video').muted), false);
    assert.equal(await page.locator(".tile[data-person]").count(), 1, "oneself is the preview, not a second tile");
    await tool(page, "m", "pin").click();
    await page.waitForSelector("#pinned:visible");
    assert.equal(play.pinned, "m");
    await page.click("#unpin");
    await page.waitForSelector("#pinned", { state: "hidden" });
    await tool(page, "m", "mute").click();
    await page.waitForSelector('.tile[data-person="m"][data-muted="true"]');
    assert.equal(await tool(page, "m", "mute").getAttribute("aria-label"), "Let Mia be heard again");
    await picture(page, "desk-tiles");
    await tool(page, "m", "remove").click();
    await page.waitForSelector('.tile[data-person="m"]', { state: "detached" });
    await eventually("the session ends", () => !session("whep"));
    assert.deepEqual(page.complaints, []);
  });

  test("changes the layout and looks at what the class sees", async () => {
    const play = begin();
    const page = await desk();
    await page.check("#layouts input[value=grid]", { force: true });
    await eventually("grid", () => play.layout === "grid");
    play.layout = "screen";
    play.version++;
    await page.waitForFunction(() => document.querySelector("#layouts input[value=screen]").checked);
    await page.click("#look");
    await page.waitForFunction(() => {
      const video = document.querySelector("#audience-video");
      return video.videoWidth > 0 && video.currentTime > 0 && !video.paused && video.muted;
    });
    await picture(page, "desk-audience");
    await page.click("#look");
    await page.waitForSelector("#audience", { state: "hidden" });
    await page.waitForFunction(() => document.querySelector("#audience-video").readyState === 0);
    assert.deepEqual(page.complaints, []);
  });

  test("shares the screen beside the camera, and ends the class for everybody", async () => {
    const play = begin();
    const page = await desk();
    await page.click("#share");
    await page.waitForSelector("#own-screen:visible");
    const screen = await eventually("a second session", () => session("whip", "screen"));
    assert.ok(session("whip", "camera"));
    assert.ok(!screen.offer.includes("m=audio"));
    await eventually("its picture arrives", async () => (await box.peer.received(screen.id)).frames > 1);
    await picture(page, "desk-screen");
    await page.click("#share");
    await eventually("it ends, the camera does not", () => !session("whip", "screen") && session("whip", "camera"));
    await page.click("#go");
    await page.waitForSelector("#end-dialog[open]");
    await page.getByRole("button", { name: "Go on" }).click();
    assert.equal(await page.getAttribute("#state", "data-state"), "live");
    await page.click("#go");
    await picture(page, "desk-end");
    await page.click("#end-all");
    await page.waitForFunction(() => document.querySelector("#go").textContent === "Go live");
    assert.equal(play.ended, true);
    assert.equal(session("whip"), undefined);
    assert.equal(await page.isVisible("#hands-panel"), false);
    assert.deepEqual(page.complaints, []);
  });

  test("keeps the chat: slow mode, read only, delete", async () => {
    const play = begin();
    const page = await desk();
    play.write("Ben", "spam");
    await page.getByRole("button", { name: "Delete what Ben wrote" }).click();
    await page.waitForSelector('.line[data-deleted="true"]');
    assert.ok(play.calls.includes("DELETE chat/1"));
    await page.selectOption("#chat-slow", "15");
    await eventually("slow mode", () => play.slow === 15);
    await page.check("#chat-closed");
    await eventually("closed", () => !play.open);
    await page.fill("#chat textarea", "Back to the waves.");
    await page.click(".send");
    await page.waitForSelector('.line[data-teacher="true"] .text:has-text("waves")');
    assert.deepEqual(page.complaints, []);
  });

  test("says what the box declines, and shows what is", async () => {
    const play = begin();
    const page = await desk();
    play.refuse = "the room is closed for repair";
    await page.check("#layouts input[value=single]", { force: true });
    await page.waitForSelector("#declined:has-text('closed for repair')");
    await page.waitForFunction(() => document.querySelector("#layouts input[value=auto]").checked);
  });
});

describe("at phone width, and in the dark", () => {
  const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, locale: "de-DE" };
  const fits = (page) => page.evaluate(() => ({
    wide: document.documentElement.scrollWidth <= document.documentElement.clientWidth,
    small: [...document.querySelectorAll("button, select, textarea, input:not([type=radio], [type=checkbox])")]
      .filter((e) => e.checkVisibility() && !e.closest("[inert]") && (e.getBoundingClientRect().height < 30 || e.getBoundingClientRect().right > innerWidth))
      .map((e) => e.id || e.className),
  }));
  for (const colorScheme of ["light", "dark"]) {
    test(`the viewer on stage with the chat open, ${colorScheme}`, async () => {
      const play = begin();
      play.enter("t", "Frau Ada", { role: "teacher" });
      for (const text of ["Guten Morgen!", "Ist die Welle sinusförmig, oder sieht das nur so aus?", "Ja."]) play.write("Ben", text);
      const page = await viewer({ ...phone, colorScheme });
      await up(page, play);
      await moves(page, '.tile[data-person="t"] video');
      await page.click("#chat-toggle");
      await page.waitForFunction(() => document.querySelectorAll(".line").length === 3);
      assert.deepEqual(await fits(page), { wide: true, small: [] });
      await picture(page, `phone-stage-${colorScheme}`);
    });
    test(`the teacher's desk, ${colorScheme}`, async () => {
      const play = begin();
      play.enter("m", "Mia");
      play.raise("b", "Donaudampfschifffahrtsgesellschaftskapitän Benjamin");
      play.write("Ben", "Guten Morgen!");
      const page = await visit(`/teach/stage#token=${token({ sub: "ada", role: "teacher", room: "stage", name: "Frau Ada" })}`, { ...phone, colorScheme });
      await page.click("#go:enabled");
      await page.waitForSelector(".hand");
      await moves(page, '.tile[data-person="m"] video');
      await page.waitForSelector(".line");
      assert.deepEqual(await fits(page), { wide: true, small: [] });
      await picture(page, `phone-desk-${colorScheme}`);
    });
  }
});
