// Bundles TypeScript of this folder for a browser under test, in memory.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { TYPES } from "./server.mjs";

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

/** The demo page with `page/aloud.ts` replaced by the module at `double` (a path in web/): routes for `serve`. */
export async function bundlePage(double, headers = {}) {
  const swap = {
    name: "double",
    enforce: "pre",
    resolveId: (id) => (id.endsWith("/aloud.ts") && double ? path.join(WEB, double) : null),
  };
  const configFile = path.join(WEB, "page/vite.config.mjs");
  const result = await build({ configFile, logLevel: "warn", plugins: [swap], build: { write: false, minify: false } });
  const routes = {};
  for (const file of [result].flat()[0].output) routes[`/${file.fileName}`] = answer(file, headers);
  routes["/"] = routes["/index.html"];
  routes["/icon.svg"] = (_, response) => response.writeHead(200, { "content-type": "image/svg+xml" }).end("<svg xmlns='http://www.w3.org/2000/svg'/>");
  return routes;
}

function answer(file, headers) {
  const type = BUNDLED[path.extname(file.fileName)] ?? "application/octet-stream";
  const body = file.type === "chunk" ? file.code : file.source;
  return (_, response) => response.writeHead(200, { "content-type": type, ...headers }).end(body);
}
