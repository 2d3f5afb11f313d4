// What the teacher can do with a tile: pin it for the audience, turn somebody's microphone off, let them go.
import type { Control } from "../lib/control";
import { icon, type Icon } from "../lib/icons";
import type { Media } from "../lib/layers";
import { make, say } from "../lib/page";
import type { Key } from "../lib/messages";
import type { Person, Stage } from "../lib/stage";
import type { Tools } from "../lib/tiles";

export function toolsFor(control: Control, failed: (error: unknown) => void, person: Person, media: Media): Tools {
  const element = make("div", { class: "tools" });
  let { muted, name } = person;
  let pinned = false;
  const button = (sign: Icon, run: () => Promise<unknown>) => {
    const made = make("button", { class: "tool" }, icon(sign));
    made.type = "button";
    made.addEventListener("click", () => {
      made.disabled = true;
      run().catch(failed).finally(() => (made.disabled = false));
    });
    return made;
  };
  const call = (made: HTMLButtonElement, key: Key) => {
    const text = say(key, { name: name || say("stage.somebody") });
    if (made.title !== text) made.title = text;
    made.setAttribute("aria-label", text);
  };
  const pin = button("pin", () => control.set({ pinned: pinned ? null : person.id }));
  const mute = button("mic-off", () => control.mute(person.id, !muted));
  const remove = button("leave", () => control.remove(person.id));
  pin.dataset["tool"] = "pin";
  mute.dataset["tool"] = "mute";
  remove.dataset["tool"] = "remove";
  // A co-teacher is not this one's to send away.
  if (media === "camera") element.append(pin, ...(person.role === "teacher" ? [] : [mute, remove]));
  return {
    element,
    update(now: Person, stage: Stage) {
      ({ muted, name } = now);
      pinned = stage.pinned === now.id;
      pin.setAttribute("aria-pressed", String(pinned));
      mute.setAttribute("aria-pressed", String(muted));
      call(pin, pinned ? "desk.unpin" : "desk.pin");
      call(mute, muted ? "desk.unmute" : "desk.mute");
      call(remove, "desk.remove");
    },
  };
}
