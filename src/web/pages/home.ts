// `/`: which classes run on this box.
import "./style/base.css";
import "./style/home.css";
import { backoff, jitter, pauseUntilSeen } from "./lib/backoff";
import { at, link, make, say, translate } from "./lib/page";
import { fetchRooms, isRoomName, type Room } from "./lib/room";

const PERIOD = 5000;

translate();
document.title = "Proscenium";

function card(room: Room): HTMLLIElement {
  const live = room.state === "live";
  const names: Node[] = [
    make("span", { class: "chip", state: room.state, text: say(`state.${room.state}`) }),
    make("span", { class: "name", text: room.title }),
  ];
  if (room.title !== room.room) names.push(make("span", { class: "quiet small", text: room.room }));
  names.push(make("span", { class: "go", text: say(live ? "home.watch" : "home.wait") }));
  return make("li", {}, make("a", { class: "room", href: link(`/watch/${room.room}`) }, ...names));
}

let shown = "";
function show(rooms: Room[]): void {
  // A list that is replaced loses the reader's focus: only when it changed.
  const now = JSON.stringify(rooms.map((r) => [r.room, r.title, r.state]));
  if (now !== shown) {
    const focused = document.activeElement?.getAttribute("href");
    at("rooms").replaceChildren(...rooms.map(card));
    if (focused) at("rooms").querySelector<HTMLElement>(`a[href="${CSS.escape(focused)}"]`)?.focus();
    shown = now;
  }
  at("rooms").hidden = rooms.length === 0;
  at("empty").hidden = rooms.length > 0;
  at("empty").textContent = say("home.none");
}

async function follow(): Promise<never> {
  for (let failed = 0; ; ) {
    try {
      show(await fetchRooms(AbortSignal.timeout(8000)));
      failed = 0;
      await pauseUntilSeen(jitter(document.hidden ? 6 * PERIOD : PERIOD, 0.3, Math.random()));
    } catch {
      // Rooms already shown stay: a blink of the network need not empty the page.
      if (!shown) {
        at("empty").hidden = false;
        at("empty").textContent = say("home.away");
      }
      await pauseUntilSeen(backoff(failed++, 2000, 20_000, Math.random()));
    }
  }
}

at<HTMLFormElement>("go-to").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = at<HTMLInputElement>("name");
  const name = input.value.trim().toLowerCase();
  const good = isRoomName(name);
  at("wrong").hidden = good;
  input.setAttribute("aria-invalid", String(!good));
  if (good) location.assign(link(`/watch/${name}`));
  else input.focus();
});

void follow();
