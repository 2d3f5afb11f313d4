// The states a room has, as the box names them.
export type RoomState = "waiting" | "live" | "ended";

/** A state this page does not know is treated as waiting: the page then looks again. */
export function phaseOf(value: unknown): RoomState {
  return value === "live" || value === "ended" ? value : "waiting";
}
