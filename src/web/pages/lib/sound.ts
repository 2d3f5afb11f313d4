// How loud the microphone is, and the microphone mixed with a shared screen's own sound.

/** Quietest level that the meter shows, dBFS. */
const FLOOR = -60;

export class Sound {
  #context: AudioContext | null = null;
  #meter: { source: MediaStreamAudioSourceNode; analyser: AnalyserNode; samples: Float32Array<ArrayBuffer> } | null = null;
  #mix: { nodes: AudioNode[]; out: MediaStreamAudioDestinationNode } | null = null;

  #audio(): AudioContext {
    this.#context ??= new AudioContext({ latencyHint: "interactive", sampleRate: 48_000 });
    return this.#context;
  }

  /** Browsers let sound run only after a click or key. */
  async wake(): Promise<void> {
    if (this.#context?.state === "suspended") await this.#context.resume().catch(() => undefined);
  }

  measure(track: MediaStreamTrack | null): void {
    this.#meter?.source.disconnect();
    this.#meter = null;
    if (!track) return;
    const context = this.#audio();
    const source = context.createMediaStreamSource(new MediaStream([track]));
    const analyser = context.createAnalyser();
    analyser.fftSize = 2048;
    source.connect(analyser);
    this.#meter = { source, analyser, samples: new Float32Array(analyser.fftSize) };
  }

  /** 0 (silence) to 1 (full scale); null while it is not known. */
  level(): number | null {
    if (!this.#meter || this.#context?.state !== "running") return null;
    const { analyser, samples } = this.#meter;
    analyser.getFloatTimeDomainData(samples);
    return meterLevel(samples);
  }

  /**
   * One track of both. The detour through the mixer costs some milliseconds against the picture, so it is taken only
   * while a screen brings sound; otherwise the microphone is sent as it is.
   */
  mixed(microphone: MediaStreamTrack | null, other: MediaStreamTrack | null): MediaStreamTrack | null {
    for (const node of this.#mix?.nodes ?? []) node.disconnect();
    this.#mix?.out.stream.getTracks().forEach((track) => track.stop());
    this.#mix = null;
    if (!other || other.readyState === "ended") return microphone;
    const context = this.#audio();
    const out = context.createMediaStreamDestination();
    const nodes = [microphone, other].flatMap((track) => {
      if (!track) return [];
      const source = context.createMediaStreamSource(new MediaStream([track]));
      source.connect(out);
      return [source];
    });
    this.#mix = { nodes, out };
    return out.stream.getAudioTracks()[0] ?? microphone;
  }
}

/** Loudness of `samples` on the meter: root mean square, in decibels, from the floor to full scale. */
export function meterLevel(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.min(1, Math.max(0, (decibels - FLOOR) / -FLOOR));
}
