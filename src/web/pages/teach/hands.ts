// The queue of raised hands: who, for how long, call up or not now. Oldest first, as the box keeps it.
import type { Control } from "../lib/control";
import { icon } from "../lib/icons";
import { at, make, say } from "../lib/page";
import type { Hand, Stage } from "../lib/stage";

export class Hands {
  readonly #control: Control;
  readonly #failed: (error: unknown) => void;
  readonly #list = at("hands");
  #shown = "";
  #asking = false;
  #version = -1;
  #count = 0;

  constructor(control: Control, failed: (error: unknown) => void) {
    this.#control = control;
    this.#failed = failed;
  }

  /** Asks for the queue where the stage's own figures say that it may have changed. */
  async update(stage: Stage): Promise<void> {
    if (this.#asking || (stage.version === this.#version && stage.hands === this.#count)) return;
    this.#asking = true;
    try {
      const hands = stage.hands > 0 || stage.invited.length > 0 || this.#shown !== "" ? await this.#control.hands() : [];
      this.#version = stage.version;
      this.#count = stage.hands;
      this.#show(hands);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#asking = false;
    }
  }

  clear(): void {
    this.#version = -1;
    this.#count = 0;
    this.#show([]);
  }

  #show(hands: Hand[]): void {
    const now = hands.length ? JSON.stringify(hands) : "";
    at("hands-none").hidden = hands.length > 0;
    const waiting = hands.filter((hand) => !hand.invited).length;
    at("hands-count").textContent = waiting ? String(waiting) : "";
    at("hands-count").hidden = waiting === 0;
    document.title = `${waiting ? `(${waiting}) ` : ""}${document.title.replace(/^\(\d+\) /, "")}`;
    if (now === this.#shown) return;
    const news = hands.length > this.#list.childElementCount ? hands.at(-1) : undefined;
    if (news && !news.invited) at("heard").textContent = say("hands.new", { name: news.name || say("stage.somebody") });
    this.#shown = now;
    const focused = (document.activeElement as HTMLElement | null)?.dataset["for"];
    this.#list.replaceChildren(...hands.map((hand) => this.#item(hand)));
    if (focused) (this.#list.querySelector<HTMLElement>(`[data-for="${CSS.escape(focused)}"]`) ?? this.#list).focus();
  }

  #item(hand: Hand): HTMLLIElement {
    const name = hand.name || say("stage.somebody");
    const who = make("span", { class: "name" }, make("b", { text: name }));
    const item = make("li", { class: "hand" }, who);
    item.dataset["person"] = hand.id;
    item.dataset["invited"] = String(hand.invited);
    if (hand.invited) who.append(make("span", { class: "quiet small", text: say("hands.called") }));
    const button = (key: "hands.invite" | "hands.dismiss" | "hands.withdraw", of: "hands.invite.of" | "hands.dismiss.of" | "hands.withdraw.of", run: () => Promise<unknown>, look: string) => {
      const made = make("button", { class: look });
      if (look === "bare") made.append(icon("close"));
      else made.textContent = say(key);
      made.type = "button";
      made.dataset["for"] = `${key}/${hand.id}`;
      made.setAttribute("aria-label", say(of, { name }));
      made.title = say(key);
      made.addEventListener("click", () => {
        made.disabled = true;
        // Shown as the box has it, not as it is hoped.
        run().catch((error: unknown) => {
          made.disabled = false;
          this.#failed(error);
        });
      });
      return made;
    };
    const id = hand.id;
    if (hand.invited) item.append(button("hands.withdraw", "hands.withdraw.of", () => this.#control.uninvite(id), "plain"));
    else item.append(button("hands.invite", "hands.invite.of", () => this.#control.invite(id), "primary"), button("hands.dismiss", "hands.dismiss.of", () => this.#control.lower(id), "bare"));
    return item;
  }
}
