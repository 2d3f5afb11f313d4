// One person's camera or screen, received from the box: one WHEP session, made again by itself while it is wanted.
// Whether it is wanted, the roster says; this only knows how to get it.
import { backoff, pause } from "./backoff";
import type { Media } from "./layers";
import { bearer, hangUp, lost, offer, Refused } from "./signal";

export type Receiving = "connecting" | "connected" | "lost";

/** A tile that grows or shrinks in steps tells the last of them, ms. */
const SETTLE = 200;

export class Subscription {
  /** What comes; its tracks are the same over a lost connection's successor, for whoever plays it: a new stream each time. */
  readonly #show: (stream: MediaStream | null) => void;
  readonly #state: (state: Receiving) => void;
  readonly #address: string;
  readonly #media: Media;
  readonly #token: () => string | null;
  readonly #end = new AbortController();
  #pc: RTCPeerConnection | null = null;
  #resource: string | null = null;
  #wanted: number | null = null;
  #told: number | null = null;
  #telling = false;

  constructor(
    room: string,
    person: string,
    media: Media,
    token: () => string | null,
    show: (stream: MediaStream | null) => void,
    state: (state: Receiving) => void,
  ) {
    this.#address = `/whep/${encodeURIComponent(room)}/${encodeURIComponent(person)}?media=${media}`;
    this.#media = media;
    this.#token = token;
    this.#show = show;
    this.#state = state;
    void this.#run();
  }

  stop(): void {
    this.#end.abort();
    void this.#leave();
  }

  /** The height at which the picture is shown, in pixels of the screen; 0 where nobody sees it. */
  view(height: number): void {
    this.#wanted = Math.round(height);
    void this.#tell();
  }

  /** What the connection has received so far, for whoever looks into a classroom's troubles. */
  async stats(): Promise<RTCStatsReport | null> {
    return (await this.#pc?.getStats()) ?? null;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    for (let failed = 0; !signal.aborted; failed++) {
      let wait = 0;
      this.#state("connecting");
      try {
        await this.#session(signal, () => {
          failed = 0;
          this.#state("connected");
        });
      } catch (error) {
        wait = (error instanceof Refused ? error.wait : null) ?? 0;
      }
      if (signal.aborted) break;
      this.#state("lost");
      await this.#leave();
      // Somebody who just came on stage is in the roster a moment before their first packet: the first retry is soon.
      await pause(Math.max(wait * 1000, backoff(failed, 500, 6000, Math.random())), signal);
    }
    await this.#leave();
  }

  async #session(signal: AbortSignal, connected: () => void): Promise<void> {
    const pc = (this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" }));
    const stream = new MediaStream();
    pc.addEventListener("track", ({ track }) => {
      stream.addTrack(track);
      this.#show(stream);
    });
    const gone = lost(pc, signal, connected);
    if (this.#media === "camera") pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    await pc.setLocalDescription();
    const { answer, resource } = await offer(this.#address, this.#token(), pc.localDescription?.sdp ?? "", signal);
    this.#resource = resource;
    this.#told = null;
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    void this.#tell();
    await gone;
  }

  async #leave(): Promise<void> {
    const [resource, pc] = [this.#resource, this.#pc];
    this.#resource = this.#pc = null;
    this.#show(null);
    if (resource) await hangUp(resource, this.#token());
    pc?.close();
  }

  /** One telling at a time, of the newest wish: the box need not hear the steps between. */
  async #tell(): Promise<void> {
    if (this.#telling) return;
    this.#telling = true;
    const { signal } = this.#end;
    while (!signal.aborted && this.#resource && this.#wanted !== null && this.#wanted !== this.#told) {
      await pause(this.#told === null || this.#wanted === 0 ? 0 : SETTLE, signal);
      const [resource, height] = [this.#resource, this.#wanted];
      if (!resource || signal.aborted) break;
      this.#told = height;
      await fetch(`${resource}/view`, {
        method: "PUT",
        headers: { "content-type": "application/json", ...bearer(this.#token()) },
        body: JSON.stringify({ height }),
        signal: AbortSignal.any([signal, AbortSignal.timeout(5000)]),
      }).catch(() => undefined); // a wish; the box goes on with what it sends
    }
    this.#telling = false;
  }
}
