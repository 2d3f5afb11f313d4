// The way to the box: one WHIP session at a time, made again by itself when the connection is lost, until it is
// stopped. Knows tracks, not devices; states, not words. A person sends a camera and, beside it, a screen: two of these.
import { backoff, pause } from "./backoff";
import { assess, type Reading, type Report } from "./health";
import { layersFor, type Media } from "./layers";
import { hangUp, lost, offer, Refused } from "./signal";
import { passing, preferred, type Refusal } from "./whip";

const AUDIO_BITRATE = 64_000;
const MEASURE = 2000;

export type State =
  | { is: "idle" }
  | { is: "connecting"; why: Refusal | "connection" | null }
  | { is: "live"; report: Report | null }
  | { is: "reconnecting"; why: Refusal | "connection" }
  | { is: "refused"; why: Refusal; detail: string | null };

export class Publisher {
  readonly #room: string;
  readonly #media: Media;
  readonly #token: () => string | null;
  readonly #state: (state: State) => void;
  #audio: MediaStreamTrack | null = null;
  #video: MediaStreamTrack | null = null;
  #pc: RTCPeerConnection | null = null;
  /** The WHIP session on the box, while there is one. */
  #resource: string | null = null;
  #end: AbortController | null = null;

  constructor(room: string, media: Media, token: () => string | null, state: (state: State) => void) {
    this.#room = room;
    this.#media = media;
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
            if (end.signal.aborted) return;
            before = true;
            failed = 0;
            this.#state({ is: "live", report });
          });
          if (end.signal.aborted) break;
          this.#state({ is: before ? "reconnecting" : "connecting", why: "connection" });
        } catch (error) {
          if (end.signal.aborted) break;
          const refused = error instanceof Refused ? error : new Refused("away", null, null);
          // The place is "taken" by this page's own lost connection until the box notices; that passes.
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

  /** The page goes away: the session ends at once, not when the box finds the line dead. */
  abandon(): void {
    this.#end?.abort();
    void this.#leave();
  }

  /** One connection, from the offer until it is lost (returns) or refused (throws). */
  async #session(signal: AbortSignal, live: (report: Report | null) => void): Promise<void> {
    const pc = (this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" }));
    const gone = lost(pc, signal, () => live(null));
    const stream = new MediaStream();
    if (this.#media === "camera") pc.addTransceiver("audio", { direction: "sendonly", streams: [stream] });
    const video = this.#picture(pc, stream);
    const codecs = RTCRtpSender.getCapabilities("video")?.codecs;
    if (codecs) video.setCodecPreferences(preferred(codecs));
    await this.#attach();
    await pc.setLocalDescription();
    // The box is ICE-lite and needs none of our candidates: it learns them from our checks. Nothing to wait for.
    const address = `/whip/${encodeURIComponent(this.#room)}?media=${this.#media}`;
    const { answer, resource } = await offer(address, this.#token(), pc.localDescription?.sdp ?? "", signal);
    this.#resource = resource;
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    await this.#limit();
    const measuring = setInterval(() => void this.#measure(pc, live), MEASURE);
    try {
      await gone;
    } finally {
      clearInterval(measuring);
    }
  }

  /** In three layers where the browser can: the box forwards to each the one that fits (RFC 8853). */
  #picture(pc: RTCPeerConnection, stream: MediaStream): RTCRtpTransceiver {
    const layers = layersFor(this.#media, 3);
    try {
      return pc.addTransceiver("video", { direction: "sendonly", streams: [stream], sendEncodings: layers });
    } catch {
      // An old browser; one picture for all it is.
      return pc.addTransceiver("video", { direction: "sendonly", streams: [stream] });
    }
  }

  /** Ends the connection and, on the box, the session. */
  async #leave(): Promise<void> {
    const [resource, pc] = [this.#resource, this.#pc];
    this.#resource = this.#pc = null;
    // The connection is closed after the session: closed first, its end would end the session too, and there would be
    // nothing left to delete.
    if (resource) await hangUp(resource, this.#token());
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
      if (receiver.track.kind === "audio") {
        const [encoding] = parameters.encodings;
        if (encoding) encoding.maxBitrate = AUDIO_BITRATE;
      } else {
        // A box that wants no layers leaves the first alone, which was to be the smallest: it is the whole picture then.
        const layers = layersFor(this.#media, parameters.encodings.length);
        parameters.encodings.forEach((encoding, i) => {
          const { rid: _, ...limits } = layers[i] ?? {};
          Object.assign(encoding, limits);
        });
        // A slide must stay sharp and may come late; a face may blur and must move.
        (parameters as { degradationPreference?: string }).degradationPreference = this.#media === "screen" ? "maintain-resolution" : "balanced";
      }
      if (parameters.encodings.length > 0) await sender.setParameters(parameters).catch(() => undefined);
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
          reading.frames += figure("framesSent");
          // Of several layers, the one that is held back is the news.
          const limited = String(one["qualityLimitationReason"] ?? "none");
          if (limited !== "none") reading.limited = limited;
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
