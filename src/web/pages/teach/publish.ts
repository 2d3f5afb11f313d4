// The way to the box: one WHIP resource at a time, made again by itself when the connection is lost, until the teacher
// stops. Knows tracks, not devices; states, not words.
import { backoff, pause } from "../lib/backoff";
import { assess, type Reading, type Report } from "../lib/health";
import { detailOf, passing, preferred, refusal, retryAfter, type Refusal } from "../lib/whip";

/** Most that the picture may take, bits a second: the ladder's top rung is 720p, and more is not seen. */
const VIDEO_BITRATE = 2_500_000;
const AUDIO_BITRATE = 64_000;
/** ICE finds a new way by itself within this time, or it does not (ms). */
const GRACE = 4000;
/** From the answer until media can flow, ms. */
const CONNECT = 12_000;
const ANSWER = 10_000;
const MEASURE = 2000;

export type State =
  | { is: "idle" }
  | { is: "connecting"; why: Refusal | "connection" | null }
  | { is: "live"; report: Report | null }
  | { is: "reconnecting"; why: Refusal | "connection" }
  | { is: "refused"; why: Refusal; detail: string | null };

/** The box said no. */
class Refused extends Error {
  constructor(
    readonly why: Refusal,
    readonly detail: string | null,
    readonly wait: number | null,
  ) {
    super(`refused: ${why}`);
  }
}

export class Publisher {
  readonly #room: string;
  readonly #token: string | null;
  readonly #state: (state: State) => void;
  #audio: MediaStreamTrack | null = null;
  #video: MediaStreamTrack | null = null;
  #pc: RTCPeerConnection | null = null;
  /** The WHIP resource on the box, while there is one. */
  #resource: string | null = null;
  #end: AbortController | null = null;

  constructor(room: string, token: string | null, state: (state: State) => void) {
    this.#room = room;
    this.#token = token;
    this.#state = state;
  }

  get running(): boolean {
    return this.#end !== null;
  }

  /** What is sent, from now on: a change needs no new connection. */
  async send(audio: MediaStreamTrack | null, video: MediaStreamTrack | null): Promise<void> {
    this.#audio = audio;
    this.#video = video;
    await this.#attach();
  }

  /** Goes live, and stays so until `stop`, or until the box refuses for good. */
  async start(): Promise<void> {
    if (this.#end) return;
    const end = (this.#end = new AbortController());
    this.#state({ is: "connecting", why: null });
    let before = false;
    try {
      for (let failed = 0; !end.signal.aborted; failed++) {
        let wait: number | null = null;
        try {
          await this.#session(end.signal, (report) => {
            before = true;
            failed = 0;
            this.#state({ is: "live", report });
          });
          if (end.signal.aborted) break;
          this.#state({ is: before ? "reconnecting" : "connecting", why: "connection" });
        } catch (error) {
          if (end.signal.aborted) break;
          const refused = error instanceof Refused ? error : new Refused("away", null, null);
          // The room is "taken" by this page's own lost connection until the box notices; that passes.
          const own = before && refused.why === "taken";
          if (!passing(refused.why) && !own) {
            this.#state({ is: "refused", why: refused.why, detail: refused.detail });
            return;
          }
          wait = refused.wait;
          this.#state({ is: before ? "reconnecting" : "connecting", why: own ? "connection" : refused.why });
        }
        await this.#leave();
        await pause(Math.max((wait ?? 0) * 1000, backoff(failed, 600, 8000, Math.random())), end.signal);
      }
    } finally {
      await this.#leave();
      if (this.#end === end) this.#end = null;
    }
    this.#state({ is: "idle" });
  }

  async stop(): Promise<void> {
    this.#end?.abort();
    await this.#leave();
  }

  /** The page goes away: the class ends at once, not when the box finds the line dead. */
  abandon(): void {
    this.#end?.abort();
    void this.#leave();
  }

  /** One connection, from the offer until it is lost (returns) or refused (throws). */
  async #session(signal: AbortSignal, live: (report: Report | null) => void): Promise<void> {
    const pc = (this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" }));
    const lost = new Promise<void>((done) => {
      let timer: ReturnType<typeof setTimeout> | undefined = setTimeout(done, CONNECT);
      signal.addEventListener("abort", () => done(), { once: true });
      pc.addEventListener("connectionstatechange", () => {
        clearTimeout(timer);
        timer = undefined;
        if (pc.connectionState === "connected") live(null);
        else if (pc.connectionState === "disconnected") timer = setTimeout(done, GRACE);
        else if (pc.connectionState === "connecting") timer = setTimeout(done, CONNECT);
        else done();
      });
    });
    const stream = new MediaStream();
    pc.addTransceiver("audio", { direction: "sendonly", streams: [stream] });
    const video = pc.addTransceiver("video", { direction: "sendonly", streams: [stream], sendEncodings: [{ maxBitrate: VIDEO_BITRATE }] });
    const codecs = RTCRtpSender.getCapabilities("video")?.codecs;
    if (codecs) video.setCodecPreferences(preferred(codecs));
    await this.#attach();
    await pc.setLocalDescription();
    // The box is ICE-lite and needs none of our candidates: it learns them from our checks. Nothing to wait for.
    const answer = await this.#post(pc.localDescription?.sdp ?? "", signal);
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    await this.#limit();
    const measuring = setInterval(() => void this.#measure(pc, live), MEASURE);
    try {
      await lost;
    } finally {
      clearInterval(measuring);
    }
  }

  async #post(offer: string, signal: AbortSignal): Promise<string> {
    const headers: Record<string, string> = { "content-type": "application/sdp" };
    if (this.#token) headers["authorization"] = `Bearer ${this.#token}`;
    const address = `/whip/${encodeURIComponent(this.#room)}`;
    let answer: Response;
    let body: string;
    try {
      answer = await fetch(address, { method: "POST", headers, body: offer, signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER)]) });
      body = await answer.text();
    } catch {
      throw new Refused("away", null, null);
    }
    if (answer.status !== 201) {
      const detail = detailOf(answer.headers.get("content-type"), body);
      throw new Refused(refusal(answer.status), detail, retryAfter(answer.headers.get("retry-after"), Date.now()));
    }
    const location = answer.headers.get("location");
    this.#resource = location ? new URL(location, new URL(address, window.location.href)).href : null;
    return body;
  }

  /** Ends the connection and, on the box, the resource; without waiting for long. */
  async #leave(): Promise<void> {
    const [resource, pc] = [this.#resource, this.#pc];
    this.#resource = this.#pc = null;
    if (resource) {
      const headers: Record<string, string> = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
      // keepalive lets it arrive after the page is gone. The connection is closed after it: closed first, its end
      // would end the resource too, and there would be nothing left to delete.
      await fetch(resource, { method: "DELETE", headers, keepalive: true, signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    }
    pc?.close();
  }

  async #attach(): Promise<void> {
    for (const transceiver of this.#pc?.getTransceivers() ?? []) {
      const kind = transceiver.receiver.track.kind;
      const track = kind === "audio" ? this.#audio : this.#video;
      if (transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
    }
    await this.#limit();
  }

  async #limit(): Promise<void> {
    for (const { sender, receiver } of this.#pc?.getTransceivers() ?? []) {
      const parameters = sender.getParameters();
      const [encoding] = parameters.encodings;
      if (!encoding) continue;
      encoding.maxBitrate = receiver.track.kind === "video" ? VIDEO_BITRATE : AUDIO_BITRATE;
      if (receiver.track.kind === "video") {
        encoding.maxFramerate = 30;
        // A slide must stay sharp and may come late; a face may blur and must move.
        const screen = sender.track?.contentHint === "detail" || sender.track?.contentHint === "text";
        (parameters as { degradationPreference?: string }).degradationPreference = screen ? "maintain-resolution" : "balanced";
      }
      await sender.setParameters(parameters).catch(() => undefined);
    }
  }

  #last: Reading | null = null;
  async #measure(pc: RTCPeerConnection, live: (report: Report | null) => void): Promise<void> {
    if (pc.connectionState !== "connected") return;
    const stats = await pc.getStats();
    const reading: Reading = { at: performance.now(), bytes: 0, packets: 0, lost: 0, roundTrip: null, frames: 0, limited: "none", picture: false };
    for (const one of stats.values() as Iterable<Record<string, unknown>>) {
      const figure = (name: string) => (typeof one[name] === "number" ? one[name] : 0);
      if (one["type"] === "outbound-rtp") {
        reading.bytes += figure("bytesSent");
        reading.packets += figure("packetsSent");
        if (one["kind"] === "video") {
          reading.frames = figure("framesSent");
          reading.limited = String(one["qualityLimitationReason"] ?? "none");
          reading.picture = this.#video?.enabled === true;
        }
      }
      if (one["type"] === "remote-inbound-rtp") reading.lost += figure("packetsLost");
      if (one["type"] === "candidate-pair" && one["nominated"] === true && typeof one["currentRoundTripTime"] === "number") {
        reading.roundTrip = one["currentRoundTripTime"];
      }
    }
    const last = this.#last;
    this.#last = reading;
    if (pc === this.#pc && last && last.packets <= reading.packets && this.running) live(assess(last, reading));
  }
}
