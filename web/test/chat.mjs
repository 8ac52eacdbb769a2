// Opens a page with the components and a scripted engine, under the content security policy of the demo page.
import { readFile } from "node:fs/promises";
import { launch } from "./browser.mjs";
import { bundleModule } from "./bundle.mjs";
import { serve } from "./server.mjs";

/** The policy in the demo page's `<meta>`. */
export async function demoPolicy() {
  const html = await readFile(new URL("../page/index.html", import.meta.url), "utf8");
  return /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(html)[1];
}

/**
 * Serves the components. `open(options)` gives a fresh page; its `problems` collects errors and breaches of the policy,
 * and `requests` what was asked for after the page had loaded.
 */
export async function openComponents() {
  const csp = await demoPolicy();
  const files = {
    "/components.js": ["text/javascript", await bundleModule("test/doubles/components.ts")],
    "/components.css": ["text/css", "html, body { height: 100%; margin: 0 }"],
    "/icon.svg": ["image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>"],
    "/": ["text/html", await readFile(new URL("components.html", import.meta.url), "utf8")],
  };
  const routes = {};
  for (const [path, [type, body]] of Object.entries(files)) {
    const headers = { "content-type": type, "content-security-policy": csp };
    routes[path] = (_, response) => response.writeHead(200, headers).end(body);
  }
  const server = await serve(routes);
  const browser = await launch();
  const open = async (options = {}) => {
    const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], ...options });
    const page = await context.newPage();
    const [problems, requests] = [[], []];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    await page.goto(`${server.origin}/`);
    await page.waitForFunction(() => globalThis.components);
    page.on("request", (request) => request.url().endsWith("/icon.svg") || requests.push(request.url()));
    return Object.assign(page, { problems, requests });
  };
  const close = async () => {
    await browser.close();
    await server.close();
  };
  return { open, close };
}

/** Puts an `<aloud-chat>` on the page as `chat`, with a scripted `engine`. */
export async function addChat(page, props = {}) {
  await page.evaluate((props) => {
    globalThis.engine = new ScriptedEngine();
    globalThis.chat = document.createElement("aloud-chat");
    Object.assign(chat, { engine }, props);
    document.body.append(chat);
  }, props);
  await page.getByRole("textbox").waitFor();
}
