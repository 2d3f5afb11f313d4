// Every sentence the pages say. English is the shape; another language that lacks a key, or has one
// too many, does not compile. `{name}` marks what `say` fills in.

const en = {
  "brand.tag": "live classes from this box",
  "skip": "Skip to the main part",
  "footer": "Proscenium runs on this box. The pages load nothing from anywhere else.",

  "home.title": "Classes on this box",
  "home.about": "A teacher’s camera or screen comes in here, and everybody in the school can watch it, a moment later, in the browser they have.",
  "home.now": "Rooms now",
  "home.none": "No class is running right now. This list looks again by itself.",
  "home.away": "The box does not answer at the moment. Trying again.",
  "home.watch": "Watch",
  "home.wait": "Wait for it to start",
  "home.go.label": "Know the room’s name?",
  "home.go.button": "Go to the room",
  "home.go.wrong": "A room’s name has only a–z, 0–9, “-” and “_”, at most 64 of them, and does not begin with “-”.",
  "home.loading": "Looking for classes …",

  "state.live": "Live",
  "state.waiting": "Not started",
  "state.ended": "Ended",
  "state.away": "Interrupted",

  "watch.asking.title": "One moment",
  "watch.asking.words": "Asking the box about this room.",
  "watch.waiting.title": "The class has not started yet",
  "watch.waiting.words": "You are in the right place. The picture appears here by itself as soon as the teacher goes live.",
  "watch.joining.title": "The class is on",
  "watch.joining.words": "Joining it now.",
  "watch.reconnecting.title": "The connection was interrupted",
  "watch.reconnecting.words": "Reconnecting by itself. There is nothing you need to do.",
  "watch.ended.title": "The class has ended",
  "watch.ended.words": "Thank you for being here. If another one starts in this room, it appears here by itself.",
  "watch.away.title": "The box does not answer",
  "watch.away.words": "It may be restarting, or this device may have lost its network. Trying again by itself.",
  "watch.refused.title": "There is no such room",
  "watch.refused.words": "A room’s name has only a–z, 0–9, “-” and “_”. Check the link you were given.",
  "watch.unsupported.title": "This browser cannot play the class",
  "watch.unsupported.words": "It has neither Media Source Extensions nor HLS. A current Firefox, Chrome, Edge or Safari plays it.",
  "watch.unmute": "Turn the sound on",
  "watch.latency": "{seconds} s",
  "watch.latency.long": "You see the room {seconds} seconds after it happens",
  "watch.live.is": "At the live edge",
  "watch.live.go": "Go to live",
  "watch.quality": "Quality",
  "watch.quality.label": "Quality: {rung}",
  "watch.quality.auto": "Auto",
  "watch.quality.auto.now": "Auto ({rung})",
  "watch.hints": "Keys, with the player in focus: space plays and pauses, M is sound, F is full screen.",
} as const;

export type Key = keyof typeof en;
export type Catalogue = Record<Key, string>;

const de: Catalogue = {
  "brand.tag": "Unterricht live aus diesem Gerät",
  "skip": "Zum Hauptteil springen",
  "footer": "Proscenium läuft auf diesem Gerät. Die Seiten laden nichts von anderswo.",

  "home.title": "Unterricht auf diesem Gerät",
  "home.about": "Kamera oder Bildschirm der Lehrkraft kommen hier an, und alle in der Schule sehen sie einen Augenblick später in dem Browser, den sie haben.",
  "home.now": "Räume jetzt",
  "home.none": "Gerade läuft kein Unterricht. Diese Liste schaut von selbst wieder nach.",
  "home.away": "Das Gerät antwortet gerade nicht. Es wird weiter versucht.",
  "home.watch": "Zusehen",
  "home.wait": "Auf den Beginn warten",
  "home.go.label": "Name des Raums bekannt?",
  "home.go.button": "Zum Raum",
  "home.go.wrong": "Ein Raumname hat nur a–z, 0–9, „-“ und „_“, höchstens 64 davon, und beginnt nicht mit „-“.",
  "home.loading": "Suche nach Unterricht …",

  "state.live": "Live",
  "state.waiting": "Noch nicht begonnen",
  "state.ended": "Beendet",
  "state.away": "Unterbrochen",

  "watch.asking.title": "Einen Moment",
  "watch.asking.words": "Das Gerät wird nach diesem Raum gefragt.",
  "watch.waiting.title": "Der Unterricht hat noch nicht begonnen",
  "watch.waiting.words": "Hier ist es richtig. Das Bild erscheint von selbst, sobald die Lehrkraft live geht.",
  "watch.joining.title": "Der Unterricht läuft",
  "watch.joining.words": "Es geht gleich los.",
  "watch.reconnecting.title": "Die Verbindung wurde unterbrochen",
  "watch.reconnecting.words": "Sie wird von selbst wieder aufgebaut. Es ist nichts zu tun.",
  "watch.ended.title": "Der Unterricht ist zu Ende",
  "watch.ended.words": "Danke fürs Dabeisein. Beginnt in diesem Raum der nächste, erscheint er hier von selbst.",
  "watch.away.title": "Das Gerät antwortet nicht",
  "watch.away.words": "Vielleicht startet es gerade neu, oder hier fehlt das Netz. Es wird von selbst weiter versucht.",
  "watch.refused.title": "Diesen Raum gibt es nicht",
  "watch.refused.words": "Ein Raumname hat nur a–z, 0–9, „-“ und „_“. Bitte den Link prüfen.",
  "watch.unsupported.title": "Dieser Browser kann den Unterricht nicht abspielen",
  "watch.unsupported.words": "Er kann weder Media Source Extensions noch HLS. Ein aktueller Firefox, Chrome, Edge oder Safari kann es.",
  "watch.unmute": "Ton einschalten",
  "watch.latency": "{seconds} s",
  "watch.latency.long": "Der Raum ist hier {seconds} Sekunden später zu sehen",
  "watch.live.is": "Ganz vorn im Geschehen",
  "watch.live.go": "Zum Live-Bild",
  "watch.quality": "Qualität",
  "watch.quality.label": "Qualität: {rung}",
  "watch.quality.auto": "Automatisch",
  "watch.quality.auto.now": "Automatisch ({rung})",
  "watch.hints": "Tasten, wenn der Player den Fokus hat: Leertaste spielt und hält an, M ist Ton, F ist Vollbild.",
};

export const catalogues = { en, de } satisfies Record<string, Catalogue>;
export type Language = keyof typeof catalogues;

/** The language to speak: `?lang=`, else the first of the browser's wishes that is known, else English. */
export function language(query: string, wishes: readonly string[]): Language {
  for (const wish of [new URLSearchParams(query).get("lang") ?? "", ...wishes]) {
    const base = wish.toLowerCase().split("-")[0] ?? "";
    if (Object.hasOwn(catalogues, base)) return base as Language;
  }
  return "en";
}

/** The sentence for `key`, with `{name}` replaced by `values.name`. */
export function phrase(lang: Language, key: Key, values: Record<string, string | number> = {}): string {
  const text: string = catalogues[lang][key];
  return text.replace(/\{(\w+)\}/g, (mark, name: string) => (Object.hasOwn(values, name) ? String(values[name]) : mark));
}
