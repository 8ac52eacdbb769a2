/** Builds the demo page to `dist-page/`, with the model that it starts on. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MODEL = here("../../models/tiny-r1/");
const MODEL_PATH = "models/tiny-r1/";

/** Puts tiny-r1 beside the page, and serves it from there while the page is worked on. */
function tinyModel() {
  return {
    name: "tiny-r1",
    generateBundle() {
      for (const name of readdirSync(MODEL)) {
        this.emitFile({ type: "asset", fileName: MODEL_PATH + name, source: readFileSync(MODEL + name) });
      }
    },
    configureServer(server) {
      server.middlewares.use(`/${MODEL_PATH}`, (request, response, next) => {
        const name = request.url?.slice(1) ?? "";
        if (!readdirSync(MODEL).includes(name)) return next();
        response.end(readFileSync(MODEL + name));
      });
    },
  };
}

export default defineConfig({
  root: here("."),
  base: "./",
  build: {
    outDir: here("../dist-page"),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  plugins: [tinyModel()],
});
