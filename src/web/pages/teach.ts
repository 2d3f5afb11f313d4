// `/teach/{room}#token=...`: pick what is sent, see it, go live, call people up, end. Wires devices (lib/devices.ts),
// the ways to the box (lib/publish.ts), the stage (teach/desk.ts) and what the page says.
import "./style/base.css";
import "./style/stage.css";
import "./style/chat.css";
import "./style/teach.css";
import { ask } from "./lib/ask";
import { jitter, pauseUntilSeen } from "./lib/backoff";
import { Control } from "./lib/control";
import { both, camera, canCapture, canShare, list, microphone, screen, trouble, type Trouble } from "./lib/devices";
import type { Report } from "./lib/health";
import type { Key } from "./lib/messages";
import { at, lang, link, make, say, translate } from "./lib/page";
import { Publisher, type State } from "./lib/publish";
import { fetchRoom, roomOf } from "./lib/room";
import { Sound } from "./lib/sound";
import { initial } from "./lib/tiles";
import { inspect } from "./lib/token";
import { Desk } from "./teach/desk";

translate();
for (const home of document.querySelectorAll<HTMLAnchorElement>(".brand")) home.href = link("/");

const room = roomOf(location.pathname);
const preview = at<HTMLVideoElement>("preview");
const screenPreview = at<HTMLVideoElement>("screen-preview");
const cameras = at<HTMLSelectElement>("cameras");
const microphones = at<HTMLSelectElement>("microphones");
const go = at<HTMLButtonElement>("go");
const mute = at<HTMLButtonElement>("mute");
const cover = at<HTMLButtonElement>("cover");
const shareButton = at<HTMLButtonElement>("share");

/** What is open now. */
const have: { camera: MediaStreamTrack | null; microphone: MediaStreamTrack | null; screen: MediaStreamTrack | null; screenSound: MediaStreamTrack | null } =
  { camera: null, microphone: null, screen: null, screenSound: null };
let muted = false;
let covered = false;
/** The teacher wants to be live: what is opened from now on goes out. */
let wanted = false;
/** Of the camera's connection, and of the screen's beside it. */
let state: State = { is: "idle" };
let screenState: State = { is: "idle" };
const sound = new Sound();

const control = room ? new Control(room) : null;
const publisher = control ? new Publisher(control.room, "camera", control.token, (now) => ((state = now), show())) : null;
const screenPublisher = control ? new Publisher(control.room, "screen", control.token, (now) => ((screenState = now), show())) : null;
const desk = control ? new Desk(control, () => overall().is === "live") : null;

/** What the page's words are about: the camera's connection, or the screen's where that is all there is. */
const overall = (): State => (publisher?.running || screenState.is === "idle" ? state : screenState);
const running = (): boolean => publisher?.running === true || screenPublisher?.running === true;

// ---- what the page says

type OfDevices = Exclude<Trouble, "cancelled"> | "gone";
type OfLink = "token" | "token-missing" | "token-broken" | "token-expired" | "token-early" | "token-other-room" | "room" | "taken" | "offer";

/** Two things can be wrong at once. The devices' trouble is shown first: it is the nearer one. */
const troubles: { devices: OfDevices | null; link: { what: OfLink; detail: string | null } | null } = { devices: null, link: null };

function deviceNotice(what: OfDevices | "cancelled" | null): void {
  // A changed mind needs no words.
  troubles.devices = what === "cancelled" ? null : what;
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

function show(): void {
  const now = overall();
  const chip = at("state");
  const key: Key = now.is === "live" ? "teach.state.live" : now.is === "connecting" ? "teach.state.connecting" : now.is === "reconnecting" ? "teach.state.reconnecting" : "teach.state.off";
  // Texts that a screen reader reads out change only when they say something else.
  if (chip.textContent !== say(key)) chip.textContent = say(key);
  chip.dataset["state"] = now.is === "live" ? "live" : now.is === "reconnecting" || now.is === "refused" ? "bad" : "";
  at("stage").dataset["live"] = String(now.is === "live");
  go.dataset["live"] = String(running());
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
  at("own-screen").dataset["state"] = screenState.is === "live" ? "connected" : "connecting";
  // The screen alone was refused: the camera goes on, and the sharing ends with a word.
  if (screenState.is === "refused" && publisher?.running && have.screen) {
    linkNotice(screenState.why === "taken" ? "taken" : "offer", screenState.detail);
    void unshare();
  }
  if (now.is === "live") void stayAwake();
  else at("viewers").textContent = "";
  desk?.running(now.is === "live" || now.is === "reconnecting");
  ready();
}

/** The room's title, and while the class runs how many watch it. */
async function follow(name: string): Promise<never> {
  for (;;) {
    try {
      const now = await fetchRoom(name, AbortSignal.timeout(8000));
      if (now) title(now.title);
      const count = overall().is === "live" ? (now?.viewers ?? null) : null;
      const text = count === null ? "" : count === 0 ? say("teach.viewers.none") : count === 1 ? say("teach.viewers.one") : say("teach.viewers.many", { count });
      if (at("viewers").textContent !== text) at("viewers").textContent = text;
    } catch {
      // Whether the box is there, the connection to it says better.
    }
    await pauseUntilSeen(jitter(5000, 0.2, Math.random()));
  }
}

function title(name: string): void {
  if (at("title").textContent === name) return;
  document.title = `${name} · Proscenium`;
  at("title").textContent = name;
}

/** What can be pressed now. */
function ready(): void {
  mute.disabled = !have.microphone;
  cover.disabled = !have.camera;
  shareButton.disabled = !publisher || !canCapture() || !canShare();
  go.disabled = !publisher || (!running() && !have.camera && !have.microphone && !have.screen);
}

// ---- what is sent

function mirror(video: HTMLVideoElement, track: MediaStreamTrack | null): void {
  const shown = video.srcObject instanceof MediaStream ? video.srcObject.getVideoTracks()[0] : undefined;
  if (shown !== (track ?? undefined)) video.srcObject = track ? new MediaStream([track]) : null;
}

async function apply(): Promise<void> {
  const own = at("own");
  own.dataset["source"] = at("stage").dataset["source"] = have.camera ? "camera" : "none";
  at("stage").dataset["screen"] = String(have.screen !== null);
  at("ask").hidden = have.camera !== null || have.microphone !== null || have.screen !== null;
  at("own-screen").hidden = have.screen === null;
  if (have.camera) have.camera.enabled = !covered;
  if (have.microphone) have.microphone.enabled = !muted;
  own.dataset["picture"] = String(have.camera !== null);
  own.dataset["face"] = initial(say("stage.you"));
  own.dataset["muted"] = String(muted || !have.microphone);
  mirror(preview, have.camera);
  mirror(screenPreview, have.screen);
  at("covered").hidden = !covered || !have.camera;
  shareButton.setAttribute("aria-pressed", String(have.screen !== null));
  shareButton.textContent = say(have.screen ? "teach.share.stop" : "teach.share");
  desk?.place();
  ready();
  const spoken = sound.mixed(have.microphone, have.screen ? have.screenSound : null);
  await Promise.all([publisher?.send(spoken, have.camera), screenPublisher?.send(null, have.screen)]);
  if (!wanted) return;
  // The camera's connection carries the sound, the screen's too; one is opened when there is something to say.
  if (spoken || have.camera) void publisher?.start();
  if (have.screen) void screenPublisher?.start();
  else if (screenPublisher?.running) await screenPublisher.stop();
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
    deviceNotice(trouble(error, true));
  }
  await apply();
}

async function unshare(): Promise<void> {
  const before = have.screen;
  const beforeSound = have.screenSound;
  have.screen = have.screenSound = null;
  await apply();
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
/** The loudest since the last telling: a word that falls between two looks was heard all the same. */
let peak = 0;
function meter(now: number): void {
  const level = sound.level();
  peak = Math.max(peak, level ?? 0);
  at("needle").style.clipPath = `inset(0 ${(100 - 100 * (muted ? 0 : (level ?? 0))).toFixed(1)}% 0 0)`;
  if (now - told > 500) {
    told = now;
    at("meter").setAttribute("aria-valuenow", String(Math.round(100 * (muted ? 0 : peak))));
    quietSince = level === null || peak > 0.02 || muted ? null : (quietSince ?? now);
    peak = 0;
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

/** The button: live, not live, or an end to it, for oneself or for everybody. */
async function press(): Promise<void> {
  void sound.wake();
  if (!running()) {
    linkNotice(null);
    wanted = true;
    return apply();
  }
  const ending = overall().is === "connecting" ? "own" : await ask(at<HTMLDialogElement>("end-dialog"));
  if (ending !== "all" && ending !== "own") return;
  wanted = false;
  // First the class, then the picture: the other way round it would seem a lost line, and be waited for.
  if (ending === "all") await desk?.end();
  await Promise.all([publisher?.stop(), screenPublisher?.stop()]);
  void awake?.release();
}

function begin(name: string): void {
  title(name);
  void follow(name);
  at<HTMLInputElement>("link").value = new URL(link(`/watch/${name}`), location.href).href;
  if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)) at("link-words").textContent = say("teach.link.local");
  const seen = inspect(control?.token() ?? null, name, Date.now());
  // A box may be set to need no token, so a missing one is said and not enforced. One that is wrong is refused by the box.
  if (!canCapture()) deviceNotice("insecure");
  if (seen !== "good") linkNotice(`token-${seen}`);
  at<HTMLButtonElement>("allow").disabled = !canCapture();

  at("allow").addEventListener("click", () => void openBoth());
  cameras.addEventListener("change", () => void reopen("camera"));
  microphones.addEventListener("change", () => void reopen("microphone"));
  shareButton.addEventListener("click", () => void (have.screen ? unshare() : share()));
  mute.addEventListener("click", () => {
    muted = !muted;
    mute.setAttribute("aria-pressed", String(muted));
    mute.textContent = say(muted ? "teach.muted" : "teach.mute");
    desk?.quiet(muted);
    void apply();
  });
  cover.addEventListener("click", () => {
    covered = !covered;
    cover.setAttribute("aria-pressed", String(covered));
    cover.textContent = say(covered ? "teach.covered.button" : "teach.cover");
    void apply();
  });
  go.addEventListener("click", () => void press());
  at("copy").addEventListener("click", () => void copy());
  navigator.mediaDevices?.addEventListener("devicechange", () => void refresh());
  window.addEventListener("beforeunload", (event) => {
    if (["live", "reconnecting"].includes(overall().is)) event.preventDefault();
  });
  // The meter needs a gesture to run, any gesture.
  for (const gesture of ["pointerdown", "keydown"]) document.addEventListener(gesture, () => void sound.wake());
  window.addEventListener("pagehide", () => (publisher?.abandon(), screenPublisher?.abandon()));
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && overall().is === "live") void stayAwake();
  });
  show();
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
