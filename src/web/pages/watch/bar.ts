// What stands under the picture: the hand, or, on stage, what one does there. Drawn from one description, so that no
// button can say something else than its neighbour.
import { keptName } from "../lib/ask";
import { canShare } from "../lib/devices";
import { icon, type Icon } from "../lib/icons";
import type { Key } from "../lib/messages";
import { at, make, say } from "../lib/page";
import { initial } from "../lib/tiles";
import type { Ready } from "./check";
import type { Where } from "./way";

export interface Bar {
  where: Where;
  /** A class runs. */
  live: boolean;
  /** May go on stage without a hand. */
  may: boolean;
  /** The teacher takes no hands. */
  locked: boolean;
  /** By the teacher. */
  silenced: boolean;
  /** By themselves: microphone, camera. */
  quiet: boolean;
  covered: boolean;
  have: Ready;
  sharing: boolean;
}

export function showBar(bar: Bar): void {
  const { where, live } = bar;
  const onStage = where === "stage" || where === "joining";
  document.body.dataset["where"] = where;
  document.title = `${where === "called" ? "● " : ""}${document.title.replace(/^● /, "")}`;
  at("called").hidden = where !== "called";

  const raise = at<HTMLButtonElement>("raise");
  const locked = bar.locked && where === "audience" && !bar.may;
  raise.hidden = !live || !(where === "audience" || where === "hand");
  raise.classList.toggle("primary", where === "audience" && !locked);
  raise.setAttribute("aria-pressed", String(where === "hand"));
  raise.setAttribute("aria-disabled", String(locked));
  const words = say(locked ? "watch.hand.locked" : where === "hand" ? "watch.hand.lower" : bar.may ? "watch.hand.speak" : "watch.hand.raise");
  if (at("raise-text").textContent !== words) at("raise-text").textContent = words;
  if (!at("raise-icon").firstChild) at("raise-icon").append(icon("hand"));

  for (const id of ["mic", "cam", "share", "leave"]) at(id).hidden = !onStage;
  if (!bar.have.camera) at("cam").hidden = true;
  if (!canShare()) at("share").hidden = true;
  button("mic", bar.quiet ? "mic-off" : "mic", bar.quiet ? "teach.muted" : "teach.mute", bar.quiet);
  button("cam", "camera", bar.covered ? "teach.covered.button" : "teach.cover", bar.covered);
  button("share", "screen", bar.sharing ? "teach.share.stop" : "teach.share", bar.sharing);
  button("leave", "leave", "watch.stage.leave", null);
  at<HTMLButtonElement>("mic").disabled = !bar.have.microphone;
  at<HTMLButtonElement>("share").disabled = where !== "stage";

  const own = at("own");
  own.dataset["muted"] = String(bar.quiet || bar.silenced || !bar.have.microphone);
  own.dataset["picture"] = String(bar.have.camera !== null && !bar.covered);
  own.dataset["face"] = initial(keptName() || say("stage.you"));
  const silent = own.querySelector(".silent");
  if (silent && !silent.firstChild) silent.append(icon("mic-off"), make("span", { class: "heard", text: say("stage.muted") }));

  at("chat-toggle").hidden = !live && !onStage;
  at("bar").hidden = !live && !onStage && !at("told").textContent;
}

function button(id: string, sign: Icon, key: Key, pressed: boolean | null): void {
  const made = at(id);
  const drawn = `${sign}/${key}`;
  if (made.dataset["drawn"] !== drawn) {
    made.dataset["drawn"] = drawn;
    made.replaceChildren(icon(sign), make("span", { text: say(key) }));
  }
  if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
}
