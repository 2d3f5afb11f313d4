// What the class sees, small and without sound, on the teacher's desk: the same HLS as everybody's, so it shows what
// really goes out, a moment later. Loaded when it is first wanted: a desk that does not look pays nothing.
import type { Player as PlayerType } from "../watch/player";
import { backoff, pause } from "../lib/backoff";
import { at, say } from "../lib/page";

/** While it is shown: plays the room, and plays it again when the class begins anew. Ends with `signal`. */
export async function showAudience(room: string, live: () => boolean, signal: AbortSignal): Promise<void> {
  const video = at<HTMLVideoElement>("audience-video");
  const words = at("audience-words");
  let Player: typeof PlayerType;
  try {
    ({ Player } = await import("../watch/player"));
  } catch {
    words.textContent = say("desk.audience.failed");
    return;
  }
  for (let failed = 0; !signal.aborted; failed++) {
    words.textContent = say(live() ? "desk.audience.loading" : "desk.audience.off");
    video.muted = true;
    if (live()) {
      const player = new Player(video, "h264", {
        playing: () => {
          failed = 0;
          words.textContent = "";
        },
        stalled: () => undefined,
        // A picture as wide as a hand needs no more than the smallest rung.
        levels: () => {
          const least = [...player.rungs].sort((a, b) => a.bitrate - b.bitrate)[0];
          if (least && player.manual !== least.index) player.select(least.index);
        },
        muted: () => undefined,
      });
      await player.play(`/hls/${encodeURIComponent(room)}/index.m3u8`, signal);
    }
    await pause(live() ? backoff(Math.min(failed, 3), 1000, 5000, Math.random()) : 1000, signal);
  }
  video.removeAttribute("src");
  video.load();
}
