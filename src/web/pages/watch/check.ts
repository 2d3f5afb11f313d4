// The look before one goes on stage: is that my face, does the microphone hear me? Sound alone is enough.
import { ask } from "../lib/ask";
import { both, camera, canCapture, list, microphone, trouble, type Trouble } from "../lib/devices";
import { at, make, say } from "../lib/page";
import { Sound } from "../lib/sound";

export interface Ready {
  microphone: MediaStreamTrack | null;
  camera: MediaStreamTrack | null;
}

const HAVE: Partial<Record<Trouble, "insecure" | "denied" | "denied-system" | "missing" | "busy">> = {
  insecure: "insecure", denied: "denied", "denied-system": "denied-system", missing: "missing", busy: "busy",
};

export class Check {
  readonly #dialog = at<HTMLDialogElement>("check");
  readonly #video = at<HTMLVideoElement>("check-video");
  readonly #silent = at<HTMLInputElement>("check-sound");
  readonly #cameras = at<HTMLSelectElement>("check-cameras");
  readonly #microphones = at<HTMLSelectElement>("check-microphones");
  readonly #sound = new Sound();
  #have: Ready = { microphone: null, camera: null };
  #open = false;

  constructor() {
    this.#silent.addEventListener("change", () => void this.#choose("camera"));
    this.#cameras.addEventListener("change", () => void this.#choose("camera"));
    this.#microphones.addEventListener("change", () => void this.#choose("microphone"));
  }

  /** Asks; what is to be sent, or null where the reader would rather not. */
  async run(): Promise<Ready | null> {
    this.#open = true;
    this.#have = { microphone: null, camera: null };
    this.#show(null);
    at("check-words").textContent = say("teach.ask.waiting");
    const answer = ask(this.#dialog);
    void this.#begin();
    requestAnimationFrame(() => this.#meter());
    const yes = (await answer) === "yes";
    this.#open = false;
    this.#sound.measure(null);
    this.#video.srcObject = null;
    if (yes && (this.#have.microphone ?? this.#have.camera)) return this.#have;
    this.#release();
    return null;
  }

  /** The invitation is gone. */
  cancel(): void {
    if (this.#dialog.open) this.#dialog.close("");
  }

  async #begin(): Promise<void> {
    if (!canCapture()) return this.#show("insecure");
    const got = await both("", "");
    this.#have = { microphone: got.microphone, camera: got.camera };
    // The question was answered after the dialog was closed: then nobody wants them.
    if (!this.#open) return this.#release();
    if (!got.camera && got.microphone) this.#silent.checked = true;
    if (this.#silent.checked) this.#close("camera");
    this.#sound.measure(got.microphone);
    void this.#sound.wake();
    await this.#fill();
    this.#show(got.microphone ? null : got.why);
  }

  async #choose(kind: "camera" | "microphone"): Promise<void> {
    let why: Trouble | null = null;
    this.#close(kind);
    if (kind === "microphone" || !this.#silent.checked) {
      try {
        this.#have[kind] = kind === "camera" ? await camera(this.#cameras.value) : await microphone(this.#microphones.value);
      } catch (error) {
        why = trouble(error);
        if (kind === "camera") this.#silent.checked = true;
      }
    }
    if (!this.#open) return this.#release();
    if (kind === "microphone") this.#sound.measure(this.#have.microphone);
    this.#show(why);
  }

  #show(why: Trouble | null): void {
    const { camera, microphone } = this.#have;
    const shown = this.#video.srcObject instanceof MediaStream ? this.#video.srcObject.getVideoTracks()[0] : undefined;
    if (shown !== (camera ?? undefined)) this.#video.srcObject = camera ? new MediaStream([camera]) : null;
    at("check-words").textContent = camera ? "" : say("check.no-picture");
    at("check-trouble").textContent = why ? say(`teach.${HAVE[why] ?? "failed"}.title`) + " " + say(`teach.${HAVE[why] ?? "failed"}.words`) : "";
    at<HTMLButtonElement>("check-go").disabled = !(camera ?? microphone);
    this.#cameras.disabled = this.#silent.checked || this.#cameras.options.length === 0;
  }

  async #fill(): Promise<void> {
    for (const [select, kind, track] of [[this.#cameras, "videoinput", this.#have.camera], [this.#microphones, "audioinput", this.#have.microphone]] as const) {
      const devices = await list(kind);
      select.replaceChildren(...devices.map((device, i) => {
        const option = make("option", { text: device.label || say("teach.unnamed", { number: i + 1 }) });
        option.value = device.deviceId;
        return option;
      }));
      select.disabled = devices.length === 0;
      const chosen = track?.getSettings().deviceId;
      if (chosen) select.value = chosen;
    }
  }

  #close(kind: "camera" | "microphone"): void {
    this.#have[kind]?.stop();
    this.#have[kind] = null;
  }

  #release(): void {
    this.#close("camera");
    this.#close("microphone");
  }

  #told = 0;
  #peak = 0;
  #meter(): void {
    if (!this.#open) return;
    const level = this.#sound.level() ?? 0;
    at("check-needle").style.clipPath = `inset(0 ${(100 - 100 * level).toFixed(1)}% 0 0)`;
    const now = performance.now();
    // Half a second's loudest: a word that falls between two looks was heard all the same.
    this.#peak = Math.max(this.#peak, level);
    if (now - this.#told > 500) {
      this.#told = now;
      at("check-meter").setAttribute("aria-valuenow", String(Math.round(100 * this.#peak)));
      this.#peak = 0;
    }
    requestAnimationFrame(() => this.#meter());
  }
}
