// In which sizes a picture is sent. Pure.
//
// A camera goes out three times (simulcast, RFC 8853): a quarter, a half and all of each side, so that the box has a
// small one for a small tile or a thin line without decoding anything. A screen goes once: its text bears no scaling.

export type Media = "camera" | "screen";

export interface Layer {
  rid?: string;
  scaleResolutionDownBy: number;
  /** Bits a second. */
  maxBitrate: number;
  maxFramerate: number;
}

/** What a camera's layers take together is what one picture took: the ladder's top rung is 720p, and more is not seen. */
const CAMERA: readonly Layer[] = [
  { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000, maxFramerate: 30 },
  { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000, maxFramerate: 30 },
  { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 1_850_000, maxFramerate: 30 },
];
const WHOLE: Layer = { scaleResolutionDownBy: 1, maxBitrate: 2_500_000, maxFramerate: 30 };

/** The encodings for `media` where `count` of them are to be had, smallest first. */
export function layersFor(media: Media, count: number): Layer[] {
  return (media === "camera" && count >= CAMERA.length ? CAMERA : [WHOLE]).map((layer) => ({ ...layer }));
}
