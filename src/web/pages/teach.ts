// `/teach/{room}#token=...`: pick what is sent, see it, go live, stop. Wires devices (teach/devices.ts), the way to the
// box (teach/publish.ts) and what the page says.
import "./style/base.css";
import "./style/teach.css";
import type { Report } from "./lib/health";
import type { Key } from "./lib/messages";
import { at, lang, link, make, say, translate } from "./lib/page";
import { jitter, pauseUntilSeen } from "./lib/backoff";
import { fetchRoom, roomOf } from "./lib/room";
import { inspect, tokenOf } from "./lib/token";
import { both, camera, canCapture, canShare, list, microphone, screen, trouble, type Trouble } from "./teach/devices";
import { Publisher, type State } from "./teach/publish";
import { Sound } from "./teach/sound";

translate();
for (const home of document.querySelectorAll<HTMLAnchorElement>(".brand")) home.href = link("/");

const room = roomOf(location.pathname);
const preview = at<HTMLVideoElement>("preview");
const cameras = at<HTMLSelectElement>("cameras");
const microphones = at<HTMLSelectElement>("microphones");
const go = at<HTMLButtonElement>("go");
const mute = at<HTMLButtonElement>("mute");
const cover = at<HTMLButtonElement>("cover");
const sources = [...document.querySelectorAll<HTMLInputElement>("input[name=source]")];

/** What is open now. */
const have: { camera: MediaStreamTrack | null; microphone: MediaStreamTrack | null; screen: MediaStreamTrack | null; screenSound: MediaStreamTrack | null } =
  { camera: null, microphone: null, screen: null, screenSound: null };
let muted = false;
let covered = false;
let state: State = { is: "idle" };
const sound = new Sound();

/** The token, taken out of the address: a shared screen shows the address bar. A reload of this tab still has it. */
function takeToken(name: string): string | null {
  const kept = `token/${name}`;
  const given = tokenOf(location.hash);
  try {
    if (given) {
      sessionStorage.setItem(kept, given);
      history.replaceState(null, "", location.pathname + location.search);
    }
    return given ?? sessionStorage.getItem(kept);
  } catch {
    return given; // storage is switched off: the link works as long as it is in the address
  }
}
const token = room ? takeToken(room) : null;
const publisher = room ? new Publisher(room, token, show) : null;

// ---- what the page says

type OfDevices = Trouble | "gone";
type OfLink = "token" | "token-missing" | "token-broken" | "token-expired" | "token-early" | "token-other-room" | "room" | "taken" | "offer";

/** Two things can be wrong at once. The devices' trouble is shown first: it is the nearer one. */
const troubles: { devices: OfDevices | null; link: { what: OfLink; detail: string | null } | null } = { devices: null, link: null };

function deviceNotice(what: OfDevices | null): void {
  troubles.devices = what;
  showNotice();
}

function linkNotice(what: OfLink | null, detail: string | null = null): void {
  troubles.link = what && { what, detail };
  showNotice();
}

function showNotice(): void {
  const what = troubles.devices ?? troubles.link?.what ?? null;
  at("notice").hidden = what === null;
  if (what === null) return;
  const detail = troubles.devices ? null : (troubles.link?.detail ?? null);
  at("notice").dataset["notice"] = what;
  at("notice-title").textContent = say(`teach.${what}.title`);
  const words = say(`teach.${what}.words`);
  at("notice-words").textContent = detail ? `${words} (${detail})` : words;
}

const decimal = (value: number, digits = 1) => value.toLocaleString(lang, { maximumFractionDigits: digits, minimumFractionDigits: digits });

function health(now: State): [text: string, colour: string] {
  switch (now.is) {
    case "idle":
    case "refused":
      return ["", ""];
    case "connecting":
    case "reconnecting":
      if (now.why === "away" || now.why === "full") return [say(`teach.health.${now.why}`), "bad"];
      return now.is === "connecting" ? [say("teach.health.connecting"), ""] : [say("teach.health.reconnecting"), "bad"];
    case "live":
      return now.report ? inWords(now.report) : [say("teach.health.live"), "good"];
  }
}

function inWords({ health, bitrate, loss, roundTrip }: Report): [text: string, colour: string] {
  const values = { rate: decimal(bitrate / 1e6), loss: decimal(loss * 100, 0), trip: decimal(roundTrip ?? 0) };
  return [say(`teach.health.${health}`, values), health === "good" ? "good" : "bad"];
}

function show(now: State): void {
  state = now;
  const chip = at("state");
  const key: Key = now.is === "live" ? "teach.state.live" : now.is === "connecting" ? "teach.state.connecting" : now.is === "reconnecting" ? "teach.state.reconnecting" : "teach.state.off";
  // Texts that a screen reader reads out change only when they say something else.
  if (chip.textContent !== say(key)) chip.textContent = say(key);
  chip.dataset["state"] = now.is === "live" ? "live" : now.is === "reconnecting" || now.is === "refused" ? "bad" : "";
  at("stage").dataset["live"] = String(now.is === "live");
  go.dataset["live"] = String(publisher?.running === true);
  go.textContent = say(now.is === "live" || now.is === "reconnecting" ? "teach.stop" : now.is === "connecting" ? "teach.cancel" : now.is === "refused" ? "teach.again" : "teach.go");
  const [text, colour] = health(now);
  if (at("health").textContent !== text) at("health").textContent = text;
  at("health").dataset["health"] = colour;
  if (now.is === "refused") {
    const why = now.why === "away" || now.why === "full" ? "offer" : now.why;
    linkNotice(why, now.detail);
  } else if (now.is === "live") {
    linkNotice(null);
  }
  if (now.is === "live") void stayAwake();
  else at("viewers").textContent = "";
  ready();
}

/** The room's title, and while the class runs how many watch it. */
async function follow(name: string): Promise<never> {
  for (;;) {
    try {
      const now = await fetchRoom(name, AbortSignal.timeout(8000));
      if (now) title(now.title);
      const count = state.is === "live" ? (now?.viewers ?? null) : null;
      const text = count === null ? "" : count === 0 ? say("teach.viewers.none") : count === 1 ? say("teach.viewers.one") : say("teach.viewers.many", { count });
      if (at("viewers").textContent !== text) at("viewers").textContent = text;
    } catch {
      // Whether the box is there, the connection to it says better.
    }
    await pauseUntilSeen(jitter(5000, 0.2, Math.random()));
  }
}

function title(name: string): void {
  document.title = `${name} · Proscenium`;
  at("title").textContent = name;
}

/** What can be pressed now. */
function ready(): void {
  const picture = have.screen ?? have.camera;
  mute.disabled = !have.microphone;
  cover.disabled = !picture;
  go.disabled = !publisher || (!publisher.running && !picture && !have.microphone);
  for (const input of sources) input.disabled = !canCapture() || (input.value === "screen" && !canShare());
}

// ---- what is sent

async function apply(): Promise<void> {
  const picture = have.screen ?? have.camera;
  const source = have.screen ? "screen" : have.camera ? "camera" : "none";
  at("stage").dataset["source"] = source;
  // A source that has ended stays chosen in the form until another is: the choice is the teacher's.
  for (const input of sources) input.checked = input.value === (have.screen ? "screen" : "camera");
  at("ask").hidden = picture !== null || have.microphone !== null;
  for (const track of [have.camera, have.screen]) if (track) track.enabled = !covered;
  if (have.microphone) have.microphone.enabled = !muted;
  const shown = preview.srcObject instanceof MediaStream ? preview.srcObject.getVideoTracks()[0] : undefined;
  if (shown !== (picture ?? undefined)) preview.srcObject = picture ? new MediaStream([picture]) : null;
  at("covered").hidden = !covered || !picture;
  ready();
  await publisher?.send(sound.mixed(have.microphone, have.screen ? have.screenSound : null), picture);
}

function close(track: MediaStreamTrack | null): void {
  track?.stop();
}

/** A device that goes away (unplugged, permission taken back) says so once. */
function watch(kind: "camera" | "microphone", track: MediaStreamTrack | null): MediaStreamTrack | null {
  track?.addEventListener("ended", () => {
    if (have[kind] !== track) return;
    have[kind] = null;
    if (kind === "microphone") sound.measure(null);
    deviceNotice("gone");
    void Promise.all([apply(), refresh()]);
  });
  return track;
}

async function openBoth(): Promise<void> {
  if (!canCapture()) return deviceNotice("insecure");
  at<HTMLButtonElement>("allow").disabled = true;
  at("ask-words").textContent = say("teach.ask.waiting");
  const got = await both(cameras.value, microphones.value);
  at<HTMLButtonElement>("allow").disabled = false;
  at("ask-words").textContent = say("teach.ask.words");
  have.camera = watch("camera", got.camera);
  have.microphone = watch("microphone", got.microphone);
  deviceNotice(got.why);
  sound.measure(have.microphone);
  void sound.wake();
  await Promise.all([apply(), refresh()]);
}

async function share(): Promise<void> {
  try {
    const got = await screen();
    close(have.screen);
    close(have.screenSound);
    have.screen = got.picture;
    have.screenSound = got.sound;
    // "Stop sharing" is the browser's own button.
    got.picture.addEventListener("ended", () => {
      if (have.screen === got.picture) void unshare();
    });
    deviceNotice(null);
  } catch (error) {
    const why = trouble(error, true);
    deviceNotice(why === "cancelled" && have.camera ? "cancelled" : why === "cancelled" ? null : why);
  }
  await apply();
}

async function unshare(): Promise<void> {
  const before = have.screen;
  const beforeSound = have.screenSound;
  have.screen = have.screenSound = null;
  if (!have.camera) await reopen("camera");
  await apply();
  // Stopped last: the class sees the camera after the screen, not a gap between them.
  close(before);
  close(beforeSound);
}

async function reopen(kind: "camera" | "microphone"): Promise<void> {
  const select = kind === "camera" ? cameras : microphones;
  const before = have[kind];
  try {
    // Some cameras open once only: the old one is closed first when it is the same, and kept until the new one is there otherwise.
    if (before && before.getSettings().deviceId === select.value) return;
    have[kind] = watch(kind, kind === "camera" ? await camera(select.value) : await microphone(select.value));
    deviceNotice(null);
    close(before);
  } catch (error) {
    deviceNotice(trouble(error));
  }
  if (kind === "microphone") sound.measure(have.microphone);
  await Promise.all([apply(), refresh()]);
}

/** Fills the lists of devices anew, keeping what is chosen. */
async function refresh(): Promise<void> {
  if (!canCapture()) return;
  for (const [select, kind, track] of [[cameras, "videoinput", have.camera], [microphones, "audioinput", have.microphone]] as const) {
    const devices = await list(kind);
    select.disabled = devices.length === 0;
    const options = devices.map((device, i) => {
      const option = make("option", { text: device.label || say("teach.unnamed", { number: i + 1 }) });
      option.value = device.deviceId;
      return option;
    });
    select.replaceChildren(...(options.length ? options : [make("option", { text: say("teach.none") })]));
    const chosen = track?.getSettings().deviceId;
    if (chosen && devices.some((d) => d.deviceId === chosen)) select.value = chosen;
  }
}

// ---- the meter

let quietSince: number | null = null;
let told = 0;
function meter(now: number): void {
  const level = sound.level();
  at("needle").style.clipPath = `inset(0 ${(100 - 100 * (muted ? 0 : (level ?? 0))).toFixed(1)}% 0 0)`;
  if (now - told > 500) {
    told = now;
    at("meter").setAttribute("aria-valuenow", String(Math.round(100 * (muted ? 0 : (level ?? 0)))));
    quietSince = level === null || level > 0.02 || muted ? null : (quietSince ?? now);
    const silent = quietSince !== null && now - quietSince > 6000;
    const words = muted && have.microphone ? say("teach.meter.muted") : silent ? say("teach.meter.silent") : "";
    if (at("meter-words").textContent !== words) at("meter-words").textContent = words;
  }
  requestAnimationFrame(meter);
}

// ---- around it

let awake: WakeLockSentinel | null = null;
/** A desk that goes dark stops the camera. */
async function stayAwake(): Promise<void> {
  if (awake && !awake.released) return;
  try {
    awake = (await navigator.wakeLock?.request("screen")) ?? null;
  } catch {
    awake = null; // a battery saver may refuse; the class goes on
  }
}

async function copy(): Promise<void> {
  const field = at<HTMLInputElement>("link");
  try {
    await navigator.clipboard.writeText(field.value);
    at("link-words").textContent = say("teach.copied");
  } catch {
    field.select();
    at("link-words").textContent = say("teach.copy.by-hand");
  }
}

function begin(name: string): void {
  title(name);
  void follow(name);
  at<HTMLInputElement>("link").value = new URL(link(`/watch/${name}`), location.href).href;
  if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) at("link-words").textContent = say("teach.link.local");
  const seen = inspect(token, name, Date.now());
  // A box may be set to need no token, so a missing one is said and not enforced. One that is wrong is refused by the box.
  if (!canCapture()) deviceNotice("insecure");
  if (seen !== "good") linkNotice(`token-${seen}`);
  at<HTMLButtonElement>("allow").disabled = !canCapture();

  at("allow").addEventListener("click", () => void openBoth());
  cameras.addEventListener("change", () => void reopen("camera"));
  microphones.addEventListener("change", () => void reopen("microphone"));
  for (const input of sources) input.addEventListener("change", () => void (input.value === "screen" ? share() : unshare()));
  mute.addEventListener("click", () => {
    muted = !muted;
    mute.setAttribute("aria-pressed", String(muted));
    mute.textContent = say(muted ? "teach.muted" : "teach.mute");
    void apply();
  });
  cover.addEventListener("click", () => {
    covered = !covered;
    cover.setAttribute("aria-pressed", String(covered));
    cover.textContent = say(covered ? "teach.covered.button" : "teach.cover");
    void apply();
  });
  go.addEventListener("click", () => {
    void sound.wake();
    if (publisher?.running) {
      void publisher.stop();
      void awake?.release();
    } else {
      linkNotice(null);
      void publisher?.start();
    }
    show(state);
  });
  at("copy").addEventListener("click", () => void copy());
  navigator.mediaDevices?.addEventListener("devicechange", () => void refresh());
  window.addEventListener("beforeunload", (event) => {
    if (state.is === "live" || state.is === "reconnecting") event.preventDefault();
  });
  // The meter needs a gesture to run, any gesture.
  for (const gesture of ["pointerdown", "keydown"]) document.addEventListener(gesture, () => void sound.wake());
  window.addEventListener("pagehide", () => publisher?.abandon());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && state.is === "live") void stayAwake();
  });
  show({ is: "idle" });
  requestAnimationFrame(meter);
  // Who allowed both before is not asked again.
  const asked = (name: string) => navigator.permissions?.query({ name: name as PermissionName }).then((p) => p.state, () => "prompt");
  if (canCapture()) {
    void Promise.all([asked("camera"), asked("microphone")]).then((states) => {
      if (states.every((s) => s === "granted")) void openBoth();
    });
  }
}

if (room) begin(room);
else {
  linkNotice("room");
  ready();
}
