/** The package: `dist/`, with everything that it needs in it. */
import { copyFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const ENTRIES = {
  index: here("src/index.ts"),
  worker: here("src/worker.ts"),
  components: here("src/components/index.ts"),
  "ai-sdk": here("src/ai-sdk.ts"),
  "prompt-api": here("src/prompt-api.ts"),
};

export default defineConfig({
  publicDir: false,
  build: {
    target: "es2022",
    emptyOutDir: true,
    // Its preloading wants a document, and the package may be loaded in a worker of the page's.
    modulePreload: false,
    lib: { entry: ENTRIES, formats: ["es"] },
    // A library of modules is not minified by default, for the sake of bundlers; this one is loaded by pages as it is.
    rolldownOptions: { output: { chunkFileNames: "[name].js", minify: true } },
  },
  plugins: [
    {
      name: "wasm",
      writeBundle: () => copyFileSync(here("pkg/aloud_web_bg.wasm"), here("dist/aloud_web_bg.wasm")),
    },
  ],
});
