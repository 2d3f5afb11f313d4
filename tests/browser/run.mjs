// Runs the browser tests:  node run.mjs [FILE...]
//   burnt.test.mjs   the reader of the burnt-in clock
//   pages.test.mjs   the pages against a scripted box, under every kind of trouble
//   hands.test.mjs   the stage in the pages, against a scripted box with real media
//   live.test.mjs    the pages against a real box; skipped unless PROSCENIUM_URL names one
//   players.test.mjs Shaka, ffmpeg and MP4Box's parser on a real box; skipped likewise
//   stage.test.mjs   teacher, speaker and viewer on a real box; skipped likewise
// Needs Chromium (CHROMIUM, else /usr/bin/chromium), ffmpeg, and `npm ci` here and in src/web.
// SCREENSHOTS=FOLDER keeps pictures.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const here = import.meta.dirname;
const web = join(here, "../../src/web");
const run = (command, args, options) => {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", ...options });
  if (error) throw error;
  return status ?? 1;
};

for (const folder of [here, web]) {
  if (!existsSync(join(folder, "node_modules")) && run("npm", ["ci", "--no-progress"], { cwd: folder }) !== 0) process.exit(1);
}
const own = process.env.PROSCENIUM_WEB_DIST ? null : mkdtempSync(join(tmpdir(), "proscenium-pages-"));
try {
  if (own && run("node", ["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn", "--outDir", own], { cwd: web }) !== 0) process.exit(1);
  const files = process.argv.length > 2 ? process.argv.slice(2) : ["burnt.test.mjs", "pages.test.mjs", "hands.test.mjs", "live.test.mjs", "stage.test.mjs"];
  const env = { ...process.env, PROSCENIUM_WEB_DIST: own ?? process.env.PROSCENIUM_WEB_DIST };
  // One file at a time: they measure time, and share the machine with a video encoder.
  process.exitCode = run(process.execPath, ["--test", "--test-concurrency=1", "--test-reporter=spec", ...files.map((f) => join(here, f))], { env });
} finally {
  if (own) rmSync(own, { recursive: true, force: true });
}
