// Rooms: their names in addresses, and what the box says about them.
import { phaseOf, type RoomState } from "./state";

/** The same rule as the box's: 1 to 64 of a-z, 0-9, '-' and '_', not starting with '-'. */
export function isRoomName(text: string): boolean {
  return /^(?!-)[a-z0-9_-]{1,64}$/.test(text);
}

/** The room a page is for: the last element of `/watch/{room}`, or null where no room can have that name. */
export function roomOf(pathname: string): string | null {
  const last = pathname.replace(/\/+$/, "").split("/").pop() ?? "";
  let name: string;
  try {
    name = decodeURIComponent(last);
  } catch {
    return null;
  }
  return isRoomName(name) ? name : null;
}

export interface Rendition {
  name: string;
  /** RFC 6381. */
  codec: string;
  width?: number;
  height?: number;
  bitrate?: number;
  /** The box has given it up. */
  dropped: boolean;
}

/** What `GET /api/v1/rooms/{room}` says. */
export interface Room {
  room: string;
  title: string;
  state: RoomState;
  session: string | null;
  /** Players that asked for media lately; null where the box does not say. */
  viewers: number | null;
  renditions: Rendition[];
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) && value > 0 ? value : undefined;

/** A room from an answer's JSON; null where it is none. Unknown fields are left alone, missing ones have defaults. */
export function readRoom(value: unknown): Room | null {
  if (typeof value !== "object" || value === null) return null;
  const from = value as Record<string, unknown>;
  const room = text(from["room"]);
  if (!room || !isRoomName(room)) return null;
  const renditions = Array.isArray(from["renditions"]) ? from["renditions"] : [];
  return {
    room,
    title: text(from["title"]) ?? room,
    state: phaseOf(from["state"]),
    session: text(from["session"]),
    viewers: from["viewers"] === 0 ? 0 : (count(from["viewers"]) ?? null),
    renditions: renditions.flatMap((value: unknown): Rendition[] => {
      if (typeof value !== "object" || value === null) return [];
      const from = value as Record<string, unknown>;
      const name = text(from["name"]);
      if (!name) return [];
      const rendition: Rendition = { name, codec: text(from["codecs"]) ?? "", dropped: text(from["dropped"]) !== null };
      const width = count(from["width"]);
      const height = count(from["height"]);
      const bitrate = count(from["bitrate"]);
      if (width) rendition.width = width;
      if (height) rendition.height = height;
      if (bitrate) rendition.bitrate = bitrate;
      return [rendition];
    }),
  };
}

/** Asks the box. `null` is "no such room (yet)"; a box that does not answer, or not well, throws. */
export async function fetchRoom(room: string, signal: AbortSignal): Promise<Room | null> {
  const answer = await fetch(`/api/v1/rooms/${encodeURIComponent(room)}`, { signal, cache: "no-store" });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`the box answered ${answer.status}`);
  const read = readRoom(await answer.json());
  if (!read) throw new Error("the box's answer describes no room");
  return read;
}

/** All rooms, those that are live first. */
export async function fetchRooms(signal: AbortSignal): Promise<Room[]> {
  const answer = await fetch("/api/v1/rooms", { signal, cache: "no-store" });
  if (!answer.ok) throw new Error(`the box answered ${answer.status}`);
  const body: unknown = await answer.json();
  const rooms = typeof body === "object" && body !== null ? (body as Record<string, unknown>)["rooms"] : null;
  if (!Array.isArray(rooms)) throw new Error("the box's answer has no list of rooms");
  const order: Record<RoomState, number> = { live: 0, waiting: 1, ended: 2 };
  return rooms
    .flatMap((value: unknown) => readRoom(value) ?? [])
    .sort((a, b) => order[a.state] - order[b.state] || a.title.localeCompare(b.title));
}
