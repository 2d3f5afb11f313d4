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
