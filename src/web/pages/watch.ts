// `/watch/{room}`: waits for a class, plays it at the live edge, waits for the next one. One loop asks the box what
// there is; everything that goes wrong comes back to it. While the reader is on stage (watch/seat.ts) it rests.
import "media-chrome/media-controller";
import "media-chrome/media-control-bar";
import "media-chrome/media-fullscreen-button";
import "media-chrome/media-loading-indicator";
import "media-chrome/media-mute-button";
import "media-chrome/media-pip-button";
import "media-chrome/media-play-button";
import "media-chrome/media-volume-range";
import { De } from "media-chrome/lang/de";
import { addTranslation, setLanguage } from "media-chrome/utils/i18n";
import Hls from "hls.js";
import "./style/base.css";
import "./style/stage.css";
import "./style/chat.css";
import "./style/watch.css";
import { backoff, jitter, pause, pauseUntilSeen } from "./lib/backoff";
import { Control } from "./lib/control";
import { label, prefersAv1, type Family } from "./lib/levels";
import type { Key } from "./lib/messages";
import { at, lang, link, say, translate } from "./lib/page";
import { fetchRoom, roomOf, type Room } from "./lib/room";
import type { Figures } from "./watch/figures";
import { decodesAv1, Player, type Outcome } from "./watch/player";
import { QualityMenu } from "./watch/quality";
import { Seat } from "./watch/seat";

type Phase = "asking" | "waiting" | "joining" | "playing" | "stage" | "reconnecting" | "ended" | "away" | "refused" | "unsupported";

/** A waiting page looks again so often, ms; a hidden one more rarely. */
const LOOK = 4000;
const LOOK_HIDDEN = 20_000;
/** A playing page asks which rungs are left so often. */
const CHECK = 30_000;

const room = roomOf(location.pathname);
const video = at<HTMLVideoElement>("video");
let phase: Phase = "asking";
let player: Player | null = null;
let session: string | null = null;
let recoveries = 0;
/** Ends the playing of the class: the reader goes on stage. */
let halt: AbortController | null = null;
/** Settles when the reader is back in the audience; null while they are. */
let onStage: { back: Promise<void>; leave: () => void } | null = null;

addTranslation("de", De);
setLanguage(lang);
translate();

const menu = new QualityMenu(at<HTMLButtonElement>("quality"), at("qualities"), (index) => player?.select(index));

const PANEL: Partial<Record<Phase, [title: Key, words: Key]>> = {
  asking: ["watch.asking.title", "watch.asking.words"],
  waiting: ["watch.waiting.title", "watch.waiting.words"],
  joining: ["watch.joining.title", "watch.joining.words"],
  reconnecting: ["watch.reconnecting.title", "watch.reconnecting.words"],
  ended: ["watch.ended.title", "watch.ended.words"],
  away: ["watch.away.title", "watch.away.words"],
  refused: ["watch.refused.title", "watch.refused.words"],
  unsupported: ["watch.unsupported.title", "watch.unsupported.words"],
};

function enter(next: Phase): void {
  if (phase === next && at("stage").dataset["phase"] === next) return;
  phase = next;
  at("stage").dataset["phase"] = next;
  const words = PANEL[next];
  at("panel").hidden = !words;
  if (words) {
    at("panel-title").textContent = say(words[0]);
    at("panel-words").textContent = say(words[1]);
  }
  // A picture that stands still while the page reconnects stays, dimmed; the controls would do nothing.
  at("controls").inert = next !== "playing";
  if (next !== "playing") {
    menu.close(false);
    at("unmute").hidden = true;
  }
  const chip = at("state");
  const state = next === "playing" || next === "stage" ? "live" : next === "ended" ? "ended" : next === "away" || next === "reconnecting" ? "bad" : "waiting";
  if (next === "ended" || next === "waiting") seat?.changed(false);
  else seat?.changed(true);
  chip.hidden = next === "asking" || next === "refused" || next === "unsupported" || next === "joining";
  chip.dataset["state"] = state;
  chip.textContent = say(state === "bad" ? "state.away" : `state.${state}`);
  readout();
}

function title(name: string): void {
  if (at("title").textContent === name) return;
  document.title = `${name} · Proscenium`;
  at("title").textContent = name;
  at("about").textContent = name;
}

/** The delay, and the way back to the edge. */
function readout(): void {
  const shown = phase === "playing" ? player : null;
  const latency = shown?.latency ?? null;
  const seconds = shown?.behindRoom ?? latency;
  const chip = at("latency");
  chip.hidden = at("delay").hidden = seconds === null;
  if (seconds !== null) {
    const text = seconds.toLocaleString(lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    chip.textContent = say("watch.latency", { seconds: text });
    chip.title = at("delay").textContent = say("watch.latency.long", { seconds: text });
  }
  const behind = latency !== null && (video.paused || latency - (shown?.target ?? 0) > 2);
  const live = at<HTMLButtonElement>("live");
  live.dataset["behind"] = String(behind);
  live.setAttribute("aria-label", say(behind ? "watch.live.go" : "watch.live.is"));
  at("live-text").textContent = say(behind ? "watch.live.go" : "state.live");
}

function showLevels(): void {
  const { rungs, showing, manual, dropped } = player ?? { rungs: [], showing: -1, manual: -1, dropped: new Set<number>() };
  menu.show({ rungs, showing, manual, dropped });
}

/** Learns the box's clock from the dates of some small answers; again now and then, for clocks drift. */
async function keepClock(of: Room, signal: AbortSignal): Promise<void> {
  for (let asked = 0; !signal.aborted; asked++) {
    const clock = Player.clock;
    // The browser's timers fire a little late; the network adds a little. Both are less than what is to be found out.
    await pause(asked % 7 === 0 && asked > 0 ? jitter(600_000, 0.3, Math.random()) : clock.ask(Date.now()), signal);
    if (signal.aborted) return;
    const before = Date.now();
    try {
      const answer = await fetch(`/api/v1/rooms/${encodeURIComponent(of.room)}`, { method: "HEAD", cache: "no-store", signal });
      clock.heard(answer.headers.get("date"), before, Date.now(), answer.headers.get("age"));
    } catch {
      await pause(5000, signal);
    }
  }
}

/** Plays until the class ends or is lost. */
async function playHere(of: Room, wanted: Family): Promise<{ outcome: Outcome; played: boolean }> {
  let played = false;
  const stop = (halt = new AbortController());
  const playing = new Player(video, wanted, {
    playing: () => {
      played = true;
      enter("playing");
      if (video.muted && at("unmute").dataset["asked"] === "yes") at("unmute").hidden = false;
    },
    stalled: readout,
    levels: showLevels,
    muted: () => {
      at("unmute").dataset["asked"] = "yes";
      at("unmute").hidden = false;
    },
  });
  player = playing;
  session = of.session;
  const watching = Promise.all([check(of, playing, stop.signal), keepClock(of, stop.signal)]);
  try {
    const outcome = await playing.play(`/hls/${encodeURIComponent(of.room)}/index.m3u8`, stop.signal);
    return { outcome, played };
  } finally {
    stop.abort();
    player = null;
    halt = null;
    await watching;
  }
}

/** While a class plays: its title, and which rungs the box still makes. */
async function check(of: Room, playing: Player, signal: AbortSignal): Promise<void> {
  playing.renditions(of.renditions);
  while (!signal.aborted) {
    await pause(jitter(CHECK, 0.3, Math.random()), signal);
    if (signal.aborted) return;
    try {
      const now = await fetchRoom(of.room, AbortSignal.any([signal, AbortSignal.timeout(8000)]));
      if (!now) continue;
      title(now.title);
      playing.renditions(now.renditions);
    } catch {
      // Playlists and parts tell soon enough whether the box is away.
    }
  }
}

/** Plays with the browser's own HLS: old iPhones have no Media Source Extensions, and play LL-HLS well. */
function playNatively(of: Room): Promise<{ outcome: Outcome; played: boolean }> {
  let played = false;
  video.src = `/hls/${encodeURIComponent(of.room)}/index.m3u8`;
  void video.play().catch(() => {
    video.muted = true;
    at("unmute").hidden = false;
    return video.play();
  });
  return new Promise((done) => {
    const end = (halt = new AbortController());
    const finish = (outcome: Outcome) => {
      halt = null;
      end.abort();
      video.removeAttribute("src");
      video.load();
      done({ outcome, played });
    };
    video.addEventListener("playing", () => ((played = true), enter("playing")), { signal: end.signal });
    video.addEventListener("ended", () => finish("ended"), { signal: end.signal });
    video.addEventListener("error", () => finish("lost"), { signal: end.signal });
    end.signal.addEventListener("abort", () => halt && finish("lost"));
  });
}

async function follow(name: string): Promise<void> {
  const wanted: Family = prefersAv1(await decodesAv1(), navigator.hardwareConcurrency || 2) ? "av1" : "h264";
  const play = Hls.isSupported() ? (of: Room) => playHere(of, wanted) : playNatively;
  if (!Hls.isSupported() && !video.canPlayType("application/vnd.apple.mpegurl")) return enter("unsupported");

  let over: string | null = null;
  for (let failed = 0, lost = 0; ; ) {
    if (onStage) {
      enter("stage");
      await onStage.back;
      lost = 0;
    }
    let now: Room | null;
    try {
      now = await fetchRoom(name, AbortSignal.timeout(8000));
      failed = 0;
    } catch {
      // One lost answer is no reason to take a message away that is still true.
      if (failed > 0 || phase === "asking") enter("away");
      await pauseUntilSeen(backoff(failed++, 1500, 15_000, Math.random()));
      continue;
    }
    if (now) title(now.title);
    if (now?.state !== "live" || (over !== null && now.session === over)) {
      enter(now?.state === "ended" || (over !== null && now?.session === over) ? "ended" : "waiting");
      await pauseUntilSeen(jitter(document.hidden ? LOOK_HIDDEN : LOOK, 0.4, Math.random()));
      continue;
    }
    if (onStage) continue;
    enter(lost > 0 || recoveries > 0 ? "reconnecting" : "joining");
    over = null;
    const { outcome, played } = await play(now);
    if (onStage) continue;
    if (outcome === "ended") {
      over = now.session;
      lost = 0;
      enter("ended");
      await pause(jitter(1000, 0.5, Math.random()));
      continue;
    }
    lost = played ? 0 : lost + 1;
    if (played) recoveries++;
    enter("reconnecting");
    await pauseUntilSeen(backoff(lost, 400, 10_000, Math.random()));
  }
}

/** The reader goes on stage: the class falls silent here, or they would hear themselves. And back. */
function goOnStage(on: boolean): void {
  if (on === (onStage !== null)) return;
  if (!on) {
    onStage?.leave();
    onStage = null;
    return;
  }
  let leave = () => {};
  const back = new Promise<void>((done) => (leave = done));
  onStage = { back, leave };
  enter("stage");
  halt?.abort();
}

const seat = room ? new Seat(new Control(room), {
  live: () => ["joining", "playing", "stage", "reconnecting"].includes(phase),
  stage: goOnStage,
}) : null;

const figures: Figures = {
  version: 1,
  room,
  get phase() { return phase; },
  get session() { return session; },
  get latency() { return player?.latency ?? null; },
  get behindRoom() { return player?.behindRoom ?? null; },
  get target() { return player?.target ?? null; },
  get buffer() { return player?.buffer ?? 0; },
  get rate() { return video.playbackRate; },
  get time() { return video.currentTime; },
  get level() {
    const rung = player?.rungs[player.showing];
    return rung ? { label: label(rung), codec: rung.codec, width: rung.width, height: rung.height, bitrate: rung.bitrate } : null;
  },
  get levels() { return player?.rungs.map(label) ?? []; },
  get auto() { return (player?.manual ?? -1) < 0; },
  get bandwidth() { return player?.bandwidth ?? null; },
  get stalls() { return Player.counts.stalls; },
  get stalledMs() { return Player.counts.stalledMs; },
  get jumps() { return Player.counts.jumps; },
  get recoveries() { return recoveries; },
  get frames() {
    const quality = video.getVideoPlaybackQuality();
    return { shown: quality.totalVideoFrames, dropped: quality.droppedVideoFrames };
  },
  get errors() { return Player.errors; },
  get where() { return seat?.where ?? "audience"; },
  get onRoster() { return seat?.onRoster ?? false; },
};
window.__proscenium = figures;

at("live").addEventListener("click", () => player?.jump());
at("unmute").addEventListener("click", () => {
  video.muted = false;
  at("unmute").hidden = true;
  at("unmute").dataset["asked"] = "";
  void player?.start();
});
video.addEventListener("volumechange", () => {
  if (!video.muted) at("unmute").hidden = true;
});
// media-chrome asks for the end of what is seekable, where nothing is loaded yet: the edge is ours to know.
document.addEventListener("mediaseektoliverequest", (event) => (event.stopPropagation(), player?.jump()), true);
setInterval(readout, 500);
for (const home of document.querySelectorAll<HTMLAnchorElement>(".brand")) home.href = link("/");

showLevels();
if (room) {
  title(room);
  enter("asking");
  void follow(room);
  void seat?.run(new AbortController().signal);
} else {
  title("Proscenium");
  enter("refused");
}
