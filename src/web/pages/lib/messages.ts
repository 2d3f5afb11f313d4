// The pages' languages. English is the shape; another language that lacks a key, or has one too many, does not compile.
import { de } from "./messages/de";
import { en } from "./messages/en";

export type Key = keyof typeof en;
export type Catalogue = Record<Key, string>;

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
