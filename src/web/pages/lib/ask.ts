// Small questions: a dialog that is answered, or closed.

/** Opens `dialog` and resolves with the value of the button that closed it; "" where it was dismissed. */
export function ask(dialog: HTMLDialogElement): Promise<string> {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

const NAME = "name";

export function keptName(): string {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

/** Names travel in 80 bytes at most: what does not fit is cut where a letter ends. */
export function fitName(name: string): string {
  let kept = name.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  while (new TextEncoder().encode(kept).length > 80) kept = [...kept].slice(0, -1).join("");
  return kept.trim();
}

/** The reader's name: asked once on this device, then known. Null where they would rather not. */
export async function askName(dialog: HTMLDialogElement, anew = false): Promise<string | null> {
  const known = keptName();
  if (known && !anew) return known;
  const input = dialog.querySelector("input");
  if (input) input.value = known;
  if ((await ask(dialog)) !== "yes") return null;
  const name = fitName(input?.value ?? "");
  if (!name) return null;
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // Then it is asked again next time.
  }
  return name;
}
