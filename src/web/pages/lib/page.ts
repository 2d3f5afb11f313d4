// What the three pages share: language, finding elements, the room's name.
import { language, phrase, type Key } from "./messages";

export const lang = language(location.search, navigator.languages ?? [navigator.language]);

/** The sentence for `key` in the reader's language. */
export function say(key: Key, values?: Record<string, string | number>): string {
  return phrase(lang, key, values);
}

/** Puts the reader's language into the page: `data-say` is the text, `data-say-label` the label for screen readers. */
export function translate(root: ParentNode = document): void {
  document.documentElement.lang = lang;
  for (const element of root.querySelectorAll<HTMLElement>("[data-say]")) {
    element.textContent = say(element.dataset["say"] as Key);
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-say-label]")) {
    element.setAttribute("aria-label", say(element.dataset["sayLabel"] as Key));
  }
}

/** The element with this id. A page that lacks one of its own elements is broken: say so at once. */
export function at<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`this page has no #${id}`);
  return element as T;
}

/** Makes an element; text goes in as text, never as markup. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: { class?: string; text?: string; href?: string; state?: string } = {},
  ...children: Node[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (properties.class) element.className = properties.class;
  if (properties.text !== undefined) element.textContent = properties.text;
  if (properties.href !== undefined) element.setAttribute("href", properties.href);
  if (properties.state) element.dataset["state"] = properties.state;
  element.append(...children);
  return element;
}

/** Keeps `?lang=` on links within the box, where the reader chose one. */
export function link(path: string): string {
  const chosen = new URLSearchParams(location.search).get("lang");
  return chosen ? `${path}?lang=${encodeURIComponent(chosen)}` : path;
}
