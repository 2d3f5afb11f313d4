// The pages against a scripted box: what a viewer and a teacher see when things go as planned, and when they do not.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Box, problem } from "./box.mjs";
import { FAKE_DEVICES, figures, launch, open, picture, until } from "./browser.mjs";

let box;
let browser;
let pages = [];

before(async () => {
  box = await Box.start();
  browser = await launch({ more: FAKE_DEVICES });
});
after(async () => {
  await browser?.close();
  await box?.stop();
});
afterEach(async () => {
  for (const page of pages) await page.context().close();
  pages = [];
  box.rooms.clear();
  box.down = false;
});

async function visit(path, options, script) {
  const page = await open(browser, box.url + path, options, script);
  pages.push(page);
  return page;
}
const playing = (page, seconds = 20) => until(page, "playing", (f) => f.phase === "playing" && f.level, seconds);
const text = (page, selector) => page.locator(selector).textContent();
const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);

describe("the list of rooms", () => {
  test("shows what runs and what is to come, and follows changes", async () => {
    box.begin("physics-101");
    box.rooms.get("physics-101").title = "Physics: waves <b>and</b> light";
    box.room("geo", "Geography 8b");
    const page = await visit("/");
    await page.waitForSelector(".room");
    assert.deepEqual(await page.locator(".room .name").allTextContents(), ["Physics: waves <b>and</b> light", "Geography 8b"]);
    assert.equal(await page.getAttribute(".room >> nth=0", "href"), "/watch/physics-101");
    await picture(page, "home");
    box.begin("geo");
    await page.waitForFunction(() => document.querySelectorAll('.room [data-state="live"]').length === 2, null, { timeout: 12_000 });
    assert.deepEqual(page.complaints, []);
  });

  test("says that nothing runs, takes a room's name, and refuses what is none", async () => {
    const page = await visit("/");
    await page.waitForSelector("#empty:has-text('No class is running')");
    await page.fill("#name", "Not a room!");
    await page.press("#name", "Enter");
    assert.equal(await page.isVisible("#wrong"), true);
    assert.equal(await page.getAttribute("#name", "aria-invalid"), "true");
    await page.fill("#name", "Physics-101");
    await page.press("#name", "Enter");
    await page.waitForURL("**/watch/physics-101");
  });

  test("speaks German where the browser does, or where the address says so, and keeps it on links", async () => {
    box.begin("bio");
    const page = await visit("/", { locale: "de-AT" });
    assert.equal(await text(page, "h1"), "Unterricht auf diesem Gerät");
    assert.equal(await page.getAttribute("html", "lang"), "de");
    const chosen = await visit("/?lang=de");
    await chosen.waitForSelector(".room");
    assert.equal(await chosen.getAttribute(".room", "href"), "/watch/bio?lang=de");
  });
});

describe("the watch page", () => {
  test("waits before the class, plays when it begins, says when it ends, and plays the next one", async () => {
    box.room("bio", "Biology");
    const page = await visit("/watch/bio");
    await until(page, "waiting", (f) => f.phase === "waiting");
    assert.equal(await text(page, "#panel-title"), "The class has not started yet");
    assert.equal(await text(page, "#title"), "Biology");
    await picture(page, "waiting");
    const first = box.begin("bio");
    const began = await playing(page);
    assert.equal(began.session, first.session);
    assert.equal(await page.isVisible("#panel"), false);
    await picture(page, "playing");
    box.finish("bio");
    await until(page, "ended", (f) => f.phase === "ended");
    assert.equal(await text(page, "#panel-title"), "The class has ended");
    const second = box.begin("bio");
    const again = await until(page, "the next class", (f) => f.phase === "playing" && f.session === second.session, 25);
    assert.equal(again.recoveries, 0, "an end is no loss");
    assert.deepEqual(again.errors.filter((e) => e.fatal), []);
    assert.deepEqual(page.complaints, []);
  });

  test("a room that the box does not know yet is one that waits", async () => {
    const page = await visit("/watch/later");
    await until(page, "waiting", (f) => f.phase === "waiting");
    box.begin("later");
    await playing(page);
  });

  test("comes to the live edge and stays there, without a stall", async () => {
    box.begin("edge");
    const page = await visit("/watch/edge");
    await playing(page);
    const there = await until(page, "latency at the target", (f) => f.latency < 1.25 && f.behindRoom !== null, 60);
    assert.ok(there.target > 1 && there.target < 1.1, `target ${there.target}`);
    for (let i = 0; i < 10; i++) {
      await page.waitForTimeout(1000);
      const now = await figures(page);
      assert.ok(now.latency > 0.7 && now.latency < 1.4, `latency ${now.latency}`);
      // The scripted box publishes a part as it ends, so what the room is behind is what the edge is behind.
      assert.ok(Math.abs(now.behindRoom - now.latency) < 0.4, `${now.behindRoom} behind the room, ${now.latency} behind the edge`);
    }
    const end = await figures(page);
    assert.deepEqual([end.stalls, end.recoveries, end.errors], [0, 0, []]);
    assert.match(await text(page, "#latency"), /^[01]\.\d s$/);
  });

  test("every rung of the menu plays when it is chosen, across codecs, and Auto takes over again", async () => {
    box.begin("menu");
    const page = await visit("/watch/menu");
    const began = await playing(page);
    assert.equal(began.levels.length, 5);
    await page.waitForTimeout(3000);
    for (const want of ["720p · AV1", "360p · H.264", "360p · AV1", "720p · H.264"]) {
      await page.click("#quality");
      await page.getByRole("menuitemradio", { name: want, exact: true }).click();
      const now = await until(page, want, (f) => f.level?.label === want && !f.auto, 15);
      const shown = now.frames.shown;
      await until(page, `frames of ${want}`, (f) => f.frames.shown > shown + 15 && f.phase === "playing", 10);
      const height = Number.parseInt(want, 10);
      await page.waitForFunction((h) => document.querySelector("video").videoHeight === h, height, { timeout: 10_000 });
    }
    await page.click("#quality");
    await page.getByRole("menuitemradio", { name: /^Auto/ }).click();
    await until(page, "auto", (f) => f.auto);
    const end = await figures(page);
    assert.equal(end.recoveries, 0);
    assert.deepEqual(end.errors.filter((e) => e.fatal), []);
    assert.equal(end.stalls, 0, `changing rungs stalled for ${end.stalledMs} ms`);
    assert.deepEqual(page.complaints, []);
  });

  test("a rung that the box drops is left for another, and the class goes on", async () => {
    const live = box.begin("drop");
    const page = await visit("/watch/drop");
    await playing(page);
    await page.click("#quality");
    await page.getByRole("menuitemradio", { name: "720p · H.264", exact: true }).click();
    await until(page, "720p", (f) => f.level?.label === "720p · H.264", 15);
    live.gone.add("h264-720");
    const now = await until(page, "another rung", (f) => f.level && f.level.label !== "720p · H.264" && f.phase === "playing", 20);
    const { time } = now;
    await until(page, "the class goes on", (f) => f.time > time + 3, 15);
    assert.equal((await figures(page)).recoveries, 0, "without starting anew");
  });

  test("a rung that was dropped before is neither played nor offered", async () => {
    const live = box.begin("gone");
    for (const rung of ["av1-720", "h264-720"]) live.gone.add(rung);
    const page = await visit("/watch/gone");
    const now = await playing(page);
    assert.doesNotMatch(now.level.label, /720p/);
    await page.click("#quality");
    assert.deepEqual((await page.getByRole("menuitemradio").allTextContents()).slice(1), ["480p · H.264", "360p · AV1", "360p · H.264"]);
    assert.deepEqual(now.errors, []);
  });

  test("a box that restarts is met again by itself", async () => {
    box.begin("again");
    const page = await visit("/watch/again");
    await playing(page);
    await page.waitForTimeout(1500);
    const { port } = box;
    await box.stop();
    await until(page, "the page notices", (f) => f.phase === "reconnecting" || f.phase === "away", 30);
    await picture(page, "reconnecting");
    await box.listen(port);
    const second = box.begin("again");
    const now = await until(page, "playing again", (f) => f.phase === "playing" && f.session === second.session, 40);
    assert.equal(now.recoveries, 1);
  });

  test("a box that falls silent in mid-class is waited for, and caught up with", async () => {
    const live = box.begin("freeze");
    const page = await visit("/watch/freeze");
    await playing(page);
    await page.waitForTimeout(2000);
    const { stalls } = await figures(page);
    live.frozenAt = Date.now();
    const stalled = await until(page, "a stall", (f) => f.stalls > stalls && f.buffer < 0.3, 20);
    await page.waitForTimeout(3000);
    // What was not made meanwhile comes late: the timeline goes on where it stood.
    live.epoch += Date.now() - live.frozenAt;
    live.frozenAt = null;
    await until(page, "going on", (f) => f.phase === "playing" && f.time > stalled.time + 2, 15);
    assert.equal((await figures(page)).recoveries, 0);
  });

  test("a network that grows narrow gets a smaller picture of the same codec, and a wide one the big picture back", { skip: process.env.BANDWIDTH ? false : "measures bandwidth, wants a quiet machine: BANDWIDTH=1" }, async () => {
    box.begin("narrow");
    const page = await visit("/watch/narrow");
    const began = await until(page, "the top rung", (f) => f.phase === "playing" && f.level?.height === 720, 30);
    const devtools = await page.context().newCDPSession(page);
    const network = (kilobits) => devtools.send("Network.emulateNetworkConditions", {
      offline: false, latency: 20, downloadThroughput: kilobits > 0 ? (kilobits * 1000) / 8 : -1, uploadThroughput: -1,
    });
    await devtools.send("Network.enable");
    await network(900);
    const small = await until(page, "the small rung", (f) => f.level?.height === 360 && f.phase === "playing", 30);
    assert.equal(small.level.label.split(" · ")[1], began.level.label.split(" · ")[1]);
    const { time } = await until(page, "it plays on", (f) => f.time > small.time + 5, 30);
    assert.ok((await figures(page)).stalledMs < 6000, `stalled ${(await figures(page)).stalledMs} ms`);
    await network(0);
    await until(page, "the big picture again", (f) => f.level?.height === 720 && f.time > time, 60);
    assert.equal((await figures(page)).recoveries, 0);
  });

  test("is worked by keyboard alone", async () => {
    box.begin("keys");
    const page = await visit("/watch/keys");
    await playing(page);
    const focused = () => page.evaluate(() => {
      const { id, localName } = document.activeElement;
      return id || localName;
    });
    const seen = [];
    for (let i = 0; i < 14 && seen.at(-1) !== "quality"; i++) {
      await page.keyboard.press("Tab");
      seen.push(await focused());
    }
    for (const control of ["media-play-button", "media-mute-button", "live", "quality"]) assert.ok(seen.includes(control), `${control} in ${seen}`);
    await page.keyboard.press("Enter");
    assert.equal(await page.getAttribute("#quality", "aria-expanded"), "true");
    await picture(page, "menu-by-keyboard");
    // From Auto down to the first rung (720p AV1), the second (720p H.264), the third.
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await until(page, "480p by keyboard", (f) => f.level?.label === "480p · H.264", 15);
    assert.equal(await focused(), "quality", "the focus returns to the button");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    assert.equal(await page.isHidden("#qualities"), true);
    await page.focus("#player");
    await page.keyboard.press("k");
    await page.waitForFunction(() => document.querySelector("video").paused);
    await page.keyboard.press("k");
    await page.waitForFunction(() => !document.querySelector("video").paused);
  });

  test("paused for a while it says that it is behind, and one button leads back", async () => {
    box.begin("pause");
    const page = await visit("/watch/pause");
    await playing(page);
    await page.waitForTimeout(1500);
    await page.evaluate(() => document.querySelector("video").pause());
    await page.waitForTimeout(4000);
    await page.evaluate(() => document.querySelector("video").play());
    await page.waitForSelector('#live[data-behind="true"]');
    const behind = await figures(page);
    assert.ok(behind.latency > 4, `latency ${behind.latency}`);
    await page.mouse.move(600, 400);
    await page.click("#live");
    const now = await until(page, "at the edge", (f) => f.latency < 2.2 && f.phase === "playing", 15);
    assert.equal(now.jumps, 1);
  });

  test("where the browser wants a gesture before sound, it plays muted and offers the sound", async () => {
    box.begin("mute");
    // Playwright's own questions to a page count as gestures, so the browser's rule is put into the page.
    const gestured = `{
      const play = HTMLMediaElement.prototype.play;
      let gesture = false;
      document.addEventListener("pointerdown", () => (gesture = true), true);
      HTMLMediaElement.prototype.play = function () {
        return this.muted || gesture ? play.call(this) : Promise.reject(new DOMException("a gesture first", "NotAllowedError"));
      };
    }`;
    const page = await visit("/watch/mute", {}, gestured);
    await playing(page);
    await page.waitForSelector("#unmute:visible");
    assert.equal(await page.evaluate(() => document.querySelector("video").muted), true);
    await picture(page, "unmute");
    await page.click("#unmute");
    await page.waitForFunction(() => !document.querySelector("video").muted && !document.querySelector("video").paused);
    assert.equal(await page.isVisible("#unmute"), false);
  });

  test("a name that no room can have is explained", async () => {
    const page = await visit("/watch/Physics");
    await until(page, "refused", (f) => f.phase === "refused");
    assert.equal(await text(page, "#panel-title"), "There is no such room");
  });
});

describe("the teacher's page", () => {
  const live = async (path, options) => {
    box.room("physics", "Physics: waves and light");
    const page = await visit(path, options);
    // The browser is told to answer its own question: the page sees that it may, and opens the devices by itself.
    await page.waitForSelector("#go:enabled");
    return page;
  };
  const noticed = (page, what) => page.waitForSelector(`#notice[data-notice="${what}"]:visible`);

  test("shows the camera, the devices and the level; the token leaves the address", async () => {
    const page = await live("/teach/physics#token=a.eyJyb29tIjoicGh5c2ljcyJ9.c");
    assert.equal(new URL(page.url()).hash, "");
    await page.waitForFunction(() => document.querySelector("#preview").videoWidth > 0);
    assert.ok((await page.locator("#cameras option").count()) >= 1);
    assert.equal(await page.inputValue("#link"), `${box.url}/watch/physics`);
    await page.click("#copy");
    await page.waitForFunction(() => Number(document.querySelector("#meter").getAttribute("aria-valuenow")) > 10, null, { timeout: 15_000 });
    await picture(page, "teach");
    await page.click("#mute");
    assert.equal(await page.getAttribute("#mute", "aria-pressed"), "true");
    await page.waitForFunction(() => document.querySelector("#meter").getAttribute("aria-valuenow") === "0");
    assert.deepEqual(page.complaints, []);
  });

  test("each refusal of the box is told in words, with the box's own beside them", async () => {
    const page = await live("/teach/physics#token=a.e30.c");
    for (const [status, notice, detail] of [[401, "token", "The token is expired."], [409, "taken", "ada is live"], [404, "room", "no room 'physics'"], [415, "offer", "send application/sdp"]]) {
      box.whip = () => ({ status, body: problem(status, "x", detail) });
      await page.click("#go");
      await noticed(page, notice);
      assert.ok((await text(page, "#notice-words")).includes(detail));
      assert.equal(await text(page, "#go"), "Try again");
    }
    await picture(page, "teach-refused");
  });

  test("offers what WHIP asks for, with the token, and tries again while the box is busy or away", async () => {
    const page = await live("/teach/physics#token=a.e30.c");
    const seen = [];
    box.whip = (request, body) => {
      seen.push({ method: request.method, type: request.headers["content-type"], authorization: request.headers.authorization, body });
      return { status: 503, headers: { "retry-after": "0" }, body: problem(503, "busy", "busy") };
    };
    await page.click("#go");
    await page.waitForSelector("#health:has-text('busy')");
    while (seen.length < 3) await page.waitForTimeout(100);
    assert.deepEqual([seen[0].method, seen[0].type, seen[0].authorization], ["POST", "application/sdp", "Bearer a.e30.c"]);
    const offer = seen[0].body;
    for (const line of ["a=group:BUNDLE", "m=audio", "m=video", "a=sendonly", "opus/48000/2", "a=setup:actpass"]) assert.ok(offer.includes(line), line);
    assert.ok(!offer.includes("a=recvonly") && !offer.includes("a=sendrecv"));
    const first = /m=video \d+ \S+ (\d+)/.exec(offer)[1];
    assert.match(offer, new RegExp(`a=rtpmap:${first} (H264|VP8)/90000`), "H.264, or VP8 where there is none, stands first");
    await page.click("#go");
    await page.waitForFunction(() => document.querySelector("#go").textContent === "Go live");
    const { length } = seen;
    await page.waitForTimeout(2500);
    assert.equal(seen.length, length, "after Cancel nothing more is tried");
  });

  test("a link whose token is missing, damaged, run out or for another room says so at once", async () => {
    const jwt = (claims) => `a.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c`;
    for (const [hash, what] of [["", "token-missing"], ["#token=abc", "token-broken"], [`#token=${jwt({ exp: 1 })}`, "token-expired"], [`#token=${jwt({ room: "x" })}`, "token-other-room"]]) {
      await noticed(await visit(`/teach/physics${hash}`), what);
    }
  });

  test("a camera that is refused is explained, and so is a page without a secure context", async () => {
    const strict = await launch();
    try {
      const page = await open(strict, `${box.url}/teach/physics#token=a.e30.c`);
      // Headless, nobody answers the browser's question: it is answered here.
      await page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = async () => {
          throw new DOMException("Permission denied", "NotAllowedError");
        };
      });
      await page.click("#allow");
      await noticed(page, "denied");
      await picture(page, "teach-denied");
      await page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = async () => {
          throw new DOMException("Requested device not found", "NotFoundError");
        };
      });
      await page.click("#allow");
      await noticed(page, "missing");
      const insecure = await strict.newContext();
      await insecure.addInitScript(() => Object.defineProperty(window, "isSecureContext", { value: false }));
      const other = await insecure.newPage();
      await other.goto(`${box.url}/teach/physics#token=a.e30.c`);
      await noticed(other, "insecure");
      assert.equal(await other.isDisabled("#allow"), true);
    } finally {
      await strict.close();
    }
  });

  test("is worked by keyboard alone", async () => {
    const page = await live("/teach/physics#token=a.e30.c");
    await page.focus("body");
    const seen = new Set();
    for (let i = 0; i < 14; i++) {
      await page.keyboard.press("Tab");
      seen.add(await page.evaluate(() => document.activeElement.id || document.activeElement.value));
    }
    for (const control of ["cameras", "microphones", "mute", "cover", "share", "go", "link", "copy"]) assert.ok(seen.has(control), `${control} in ${[...seen]}`);
    await page.focus("#mute");
    await page.keyboard.press("Space");
    assert.equal(await page.getAttribute("#mute", "aria-pressed"), "true");
  });
});

describe("at phone width, and in the dark", () => {
  for (const scheme of ["light", "dark"]) {
    for (const [name, path] of [["home", "/"], ["watch", "/watch/phone"], ["waiting", "/watch/other"], ["teach", "/teach/phone#token=x"]]) {
      test(`${name}, ${scheme}: nothing is wider than the screen, and every control can be hit`, async () => {
        box.begin("phone");
        box.room("other", "Donaudampfschifffahrtsgesellschaftskapitänsmützen: eine Einführung");
        const page = await visit(path, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: scheme, locale: "de-DE" });
        if (name === "watch") await playing(page);
        if (name === "teach") await page.waitForSelector("#go:enabled");
        await page.waitForTimeout(700);
        assert.equal(await fits(page), true, "no horizontal scrolling");
        const small = await page.evaluate(() => [...document.querySelectorAll("button, select, .room, input:not([type=radio])")]
          .filter((e) => e.checkVisibility() && !e.closest("[inert]") && (e.getBoundingClientRect().height < 38 || e.getBoundingClientRect().right > innerWidth))
          .map((e) => e.id || e.className));
        assert.deepEqual(small, []);
        await picture(page, `phone-${name}-${scheme}`);
      });
    }
  }
});
