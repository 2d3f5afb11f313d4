// The quality menu: a button, and a menu of radio items as the ARIA practices describe it. It stands inside the
// player, so it is there in full screen too.
import { label, menuOrder, type Rung } from "../lib/levels";
import { make, say } from "../lib/page";

export interface Choice {
  rungs: readonly Rung[];
  /** Index of what is shown, -1 for none. */
  showing: number;
  /** Index of what was chosen by hand, -1 for Auto. */
  manual: number;
  /** Indexes that the box makes no more. */
  dropped: ReadonlySet<number>;
}

export class QualityMenu {
  readonly #button: HTMLButtonElement;
  readonly #menu: HTMLElement;
  readonly #select: (index: number) => void;
  #drawn = "";

  constructor(button: HTMLButtonElement, menu: HTMLElement, select: (index: number) => void) {
    this.#button = button;
    this.#menu = menu;
    this.#select = select;
    button.addEventListener("click", () => (menu.hidden ? this.open() : this.close()));
    button.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        this.open();
      }
    });
    menu.addEventListener("keydown", (event) => this.#key(event));
    // The player takes bare keys as its shortcuts (space pauses): in the menu they are the menu's.
    for (const one of [button, menu]) {
      one.addEventListener("keydown", (event) => event.stopPropagation());
      one.addEventListener("keyup", (event) => event.stopPropagation());
    }
    document.addEventListener("pointerdown", (event) => {
      const path = event.composedPath();
      if (!path.includes(menu) && !path.includes(button)) this.close(false);
    });
    menu.addEventListener("focusout", (event) => {
      const to = event.relatedTarget;
      if (to instanceof Node && !menu.contains(to) && to !== button) this.close(false);
    });
  }

  show({ rungs, showing, manual, dropped }: Choice): void {
    const now = rungs[showing];
    const text = now ? label(now) : say("watch.quality");
    const auto = manual < 0 && now ? say("watch.quality.auto.now", { rung: text }) : say("watch.quality.auto");
    this.#button.disabled = rungs.length === 0;
    this.#button.replaceChildren(make("span", { text }));
    this.#button.setAttribute("aria-label", say("watch.quality.label", { rung: text }));
    const items = [{ index: -1, text: auto }, ...menuOrder(rungs).flatMap((index) => {
      const rung = rungs[index];
      return rung && !dropped.has(index) ? [{ index, text: label(rung) }] : [];
    })];
    const drawn = JSON.stringify([items, manual]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = this.#items.indexOf(document.activeElement as HTMLElement);
    this.#menu.replaceChildren(
      ...items.map(({ index, text }) => {
        const item = make("button", { text });
        item.type = "button";
        item.setAttribute("role", "menuitemradio");
        item.setAttribute("aria-checked", String(index === manual));
        item.tabIndex = -1;
        item.dataset["level"] = String(index);
        item.addEventListener("click", () => {
          this.close();
          this.#select(index);
        });
        return item;
      }),
    );
    if (focused >= 0) this.#items[focused]?.focus();
  }

  get #items(): HTMLElement[] {
    return [...this.#menu.querySelectorAll<HTMLElement>("[role=menuitemradio]")];
  }

  open(): void {
    if (this.#button.disabled) return;
    this.#menu.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    (this.#items.find((item) => item.getAttribute("aria-checked") === "true") ?? this.#items[0])?.focus();
  }

  close(refocus = true): void {
    if (this.#menu.hidden) return;
    this.#menu.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    if (refocus) this.#button.focus();
  }

  #key(event: KeyboardEvent): void {
    const items = this.#items;
    const at = items.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[to % items.length]?.focus();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    } else if (event.key === "Tab") {
      this.close(false);
    }
  }
}
