// The browser that the tests drive: Debian's Chromium, headless, with a profile of its own each time.
import { chromium } from "playwright-core";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

export const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
  // A window in the back is slowed down by Chromium: two of them play here at once.
  "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
];
export const FAKE_DEVICES = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--auto-select-desktop-capture-source=Entire screen"];

/** `more`: further arguments. Playwright gives each launch a new profile, and removes it. */
export function launch({ more = [] } = {}) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...ARGUMENTS, ...more],
    // A user's browser has both on.
    ignoreDefaultArgs: ["--mute-audio", "--hide-scrollbars"],
  });
}

/** A page whose complaints are kept in `page.complaints`: errors, console errors, and requests to other hosts. */
export async function open(browser, url, options = {}, script = null) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-GB", ...options });
  if (script) await context.addInitScript(script);
  const page = await context.newPage();
  page.complaints = [];
  const own = new URL(url).host;
  page.on("pageerror", (error) => page.complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // The answer behind a resource that failed to load is kept below, with its address.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.complaints.push(`console: ${message.text()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) page.complaints.push(`${response.status()} for ${response.request().method()} ${response.url()}`);
  });
  page.on("request", (request) => {
    const to = new URL(request.url());
    if (/^(https?|wss?):$/.test(to.protocol) && to.host !== own) page.complaints.push(`foreign request: ${to.href}`);
  });
  await page.goto(url);
  return page;
}

/** `window.__proscenium` of a watch page, as plain data. */
export const figures = (page) => page.evaluate(() => {
  const f = window.__proscenium;
  return Object.fromEntries(Object.keys(f).map((key) => [key, f[key]]));
});

/** Waits until `test(figures)` holds; says what they were when it does not in time. */
export async function until(page, what, test, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const now = await figures(page);
    if (test(now)) return now;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}; figures: ${JSON.stringify(now)}`);
    await page.waitForTimeout(100);
  }
}

/** Saves a picture of the page where SCREENSHOTS names a folder. */
export async function picture(page, name) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
