// Bundles TypeScript of this folder for a browser under test, in memory.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { byRanges, TYPES } from "./server.mjs";

const WEB = fileURLToPath(new URL("..", import.meta.url));
const BUNDLED = { ...TYPES, ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };

/** One module of `entry` (a path in web/) and all that it imports, as text. */
export async function bundleModule(entry) {
  const result = await build({
    configFile: false,
    logLevel: "warn",
    root: WEB,
    build: {
      write: false,
      minify: false,
      target: "es2022",
      lib: { entry: path.join(WEB, entry), formats: ["es"], fileName: "bundle" },
    },
  });
  return [result].flat()[0].output[0].code;
}

/**
 * The demo page as routes for `serve`, each answered with `headers`. With `double`, a path in web/, that module stands
 * in the place of `page/aloud.ts`.
 */
export async function bundlePage(double, headers = {}) {
  const swap = {
    name: "double",
    enforce: "pre",
    resolveId: (id) => (double && id.endsWith("/aloud.ts") ? path.join(WEB, double) : null),
  };
  const configFile = path.join(WEB, "page/vite.config.mjs");
  const result = await build({ configFile, logLevel: "warn", plugins: [swap], build: { write: false, minify: false } });
  const routes = {};
  for (const file of [result].flat()[0].output) routes[`/${file.fileName}`] = answer(file, headers);
  routes["/"] = routes["/index.html"];
  routes["/icon.svg"] = answer(
    { fileName: "icon.svg", source: await readFile(path.join(WEB, "page/public/icon.svg")) },
    headers,
  );
  return routes;
}

function answer(file, headers) {
  const type = BUNDLED[path.extname(file.fileName)] ?? "application/octet-stream";
  return byRanges(Buffer.from(file.type === "chunk" ? file.code : file.source), { "content-type": type, ...headers });
}
