// Opens a page with WebGPU and the engine's wasm module in headless Chromium.
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

export const FLAGS = [
  "--headless=new",
  "--no-sandbox", // tests run as root in containers, and load nothing but web/
  // WebGPU on the CPU, so that every machine tests the same adapter.
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  // No network of the browser's own.
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Starts headless Chromium. */
export const launch = () => chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });

/** As {@link openPage}, with the wasm module as `globalThis.aloud`. */
export async function openAloud(routes = {}) {
  return openPage(routes, async () => {
    const aloud = await import("/pkg/aloud_web.js");
    await aloud.default({ module_or_path: "/pkg/aloud_web_bg.wasm" });
    globalThis.aloud = aloud;
  });
}

/** As {@link openPage}, with the built package as `globalThis.aloud`. */
export async function openPackage(routes = {}) {
  return openPage(routes, async () => {
    globalThis.aloud = await import("/dist/index.js");
  });
}

/**
 * Starts a server and a browser and runs `prepare` in a new page.
 * `routes` are further paths that the server answers. `problems` collects what the page logged as an error or threw;
 * `run` is `page.evaluate` that fails at once when the page throws; `close` ends all of it.
 */
async function openPage(routes, prepare) {
  const server = await serve(routes);
  let browser;
  const close = async () => {
    await browser?.close();
    await server.close();
  };
  try {
    browser = await launch();
    const page = await browser.newPage();
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") problems.push(message.text());
    });
    await page.goto(`${server.origin}/test/page.html`);
    await page.evaluate(prepare);
    // A wasm module that traps leaves its promises open forever.
    const thrown = new Promise((_, reject) => page.once("pageerror", reject));
    thrown.catch(() => {}); // Also in `problems`, for whoever does not wait for it.
    const run = (...args) => Promise.race([page.evaluate(...args), thrown]);
    return { page, run, problems, origin: server.origin, close };
  } catch (error) {
    await close(); // An open browser would keep the test process alive.
    throw error;
  }
}
