// Cameras, microphones, screens: opened, listed, and their refusals sorted into those a teacher can do something about.

export type Trouble = "insecure" | "denied" | "denied-system" | "missing" | "busy" | "cancelled" | "failed";

/** What an error of getUserMedia or getDisplayMedia means. `screen`: of the latter, where "not allowed" is a changed mind. */
export function trouble(error: unknown, screen = false): Trouble {
  const name = error instanceof DOMException ? error.name : "";
  const words = error instanceof Error ? error.message.toLowerCase() : "";
  switch (name) {
    case "NotAllowedError":
      if (words.includes("system")) return "denied-system";
      return screen ? "cancelled" : "denied";
    case "SecurityError":
      return "insecure";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "failed";
  }
}

/** Browsers hand out cameras only to pages from https or from the machine itself. */
export function canCapture(): boolean {
  return window.isSecureContext && typeof navigator.mediaDevices?.getUserMedia === "function";
}

export function canShare(): boolean {
  return typeof navigator.mediaDevices?.getDisplayMedia === "function";
}

const picture = (id: string): MediaTrackConstraints => ({
  ...(id ? { deviceId: { exact: id } } : {}),
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30, max: 30 },
});

const sound = (id: string): MediaTrackConstraints => ({
  ...(id ? { deviceId: { exact: id } } : {}),
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
});

/** One camera; the browser's choice where `id` is empty. */
export async function camera(id: string): Promise<MediaStreamTrack> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: picture(id) });
  return first(stream.getVideoTracks(), "motion");
}

export async function microphone(id: string): Promise<MediaStreamTrack> {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: sound(id) });
  return first(stream.getAudioTracks(), "speech");
}

export interface Both {
  camera: MediaStreamTrack | null;
  microphone: MediaStreamTrack | null;
  /** Why one of them, or both, are not there. */
  why: Trouble | null;
}

/** Camera and microphone with one question to the teacher; what there is of them. */
export async function both(cameraId: string, microphoneId: string): Promise<Both> {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: picture(cameraId), audio: sound(microphoneId) });
    return { camera: first(stream.getVideoTracks(), "motion"), microphone: first(stream.getAudioTracks(), "speech"), why: null };
  } catch (error) {
    const why = trouble(error);
    // One that is missing or held by another program takes the other with it: ask for each alone.
    if (why !== "missing" && why !== "busy") return { camera: null, microphone: null, why };
    const [one, other] = [await camera("").catch(() => null), await microphone("").catch(() => null)];
    return { camera: one, microphone: other, why: one && other ? null : why };
  }
}

export interface Screen {
  picture: MediaStreamTrack;
  sound: MediaStreamTrack | null;
}

export async function screen(): Promise<Screen> {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: { ideal: 30, max: 30 }, width: { max: 1920 }, height: { max: 1200 } },
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  return { picture: first(stream.getVideoTracks(), "detail"), sound: stream.getAudioTracks()[0] ?? null };
}

/** Labels are there only after a device of the kind was allowed once. */
export async function list(kind: "videoinput" | "audioinput"): Promise<MediaDeviceInfo[]> {
  const all = await navigator.mediaDevices.enumerateDevices();
  return all.filter((device) => device.kind === kind && device.deviceId !== "");
}

function first(tracks: MediaStreamTrack[], hint: string): MediaStreamTrack {
  const [track] = tracks;
  if (!track) throw new DOMException("the browser gave a stream without a track", "NotFoundError");
  track.contentHint = hint;
  return track;
}
