// Three pages, one folder of assets whose names carry their hash, and beside every text file its
// gzip and Brotli forms: the box compresses at build, never while a class runs.
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Below this a response fits one packet anyway. */
const SMALLEST = 1024;
const TEXT = /\.(html|js|css|svg|json|txt|webmanifest)$/;

function compress(): Plugin {
  let folder = "dist";
  return {
    name: "compress",
    apply: "build",
    configResolved(config) {
      folder = config.build.outDir;
    },
    closeBundle() {
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        if (!TEXT.test(name)) continue;
        const path = join(folder, name);
        const plain = readFileSync(path);
        if (plain.length < SMALLEST) continue;
        const options = {
          params: {
            [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
            [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
          },
        };
        for (const [ending, bytes] of [
          [".br", brotliCompressSync(plain, options)],
          [".gz", gzipSync(plain, { level: 9 })],
        ] as const) {
          if (bytes.length < plain.length) writeFileSync(path + ending, bytes);
        }
      }
    },
  };
}

export default defineConfig({
  base: "/",
  publicDir: false,
  plugins: [compress()],
  build: {
    target: "es2022",
    // A data: URL would need a wider content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    emptyOutDir: true,
    // hls.js and media-chrome are one chunk each way you cut it; the page without them is small.
    chunkSizeWarningLimit: 900,
    rollupOptions: {
      input: { index: "index.html", watch: "watch.html", teach: "teach.html" },
    },
  },
  // The scripted box of tests/browser/box.mjs, or a running daemon.
  server: { proxy: { "^/(api|hls|whip|whep)/": process.env["PROSCENIUM_URL"] ?? "http://127.0.0.1:8080" } },
});
