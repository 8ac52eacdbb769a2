// What README.md shows runs as it is written there.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { launch } from "./browser.mjs";
import { modelRoutes, WEB } from "./models.mjs";
import { serve } from "./server.mjs";

const IMPORTS = JSON.stringify({ imports: { aloud: "/dist/index.js" } });

describe("README.md", { timeout: 300_000 }, () => {
  let server, browser, readme;
  const routes = {};
  const blocks = (language) => [...readme.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "gs"))].map(([, code]) => code);
  /** A page with `html`, and what it logs. */
  async function open(html) {
    routes["/readme.html"] = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end(html);
    const context = await browser.newContext();
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    // The Hub is this machine, and all of its models are small.
    await context.route("https://huggingface.co/**", async (route) => {
      const answer = await fetch(`${server.origin}/models/tiny-r1-distill.gguf`, { headers: route.request().headers() });
      const headers = { ...Object.fromEntries(answer.headers), "access-control-allow-origin": "*", "access-control-expose-headers": "*" };
      const isFile = route.request().url().endsWith(".gguf") && !route.request().url().includes("/raw/");
      await route.fulfill(isFile ? { status: answer.status, headers, body: Buffer.from(await answer.arrayBuffer()) } : { status: 404 });
    });
    return { page, problems };
  }
  before(async () => {
    readme = await readFile(`${WEB}README.md`, "utf8");
    Object.assign(routes, await modelRoutes());
    for (const name of await readdir(`${WEB}dist`)) {
      const type = name.endsWith(".js") ? "text/javascript" : "application/wasm";
      const body = await readFile(`${WEB}dist/${name}`).catch(() => null);
      if (body) routes[`/aloud/${name}`] = (_, response) => response.writeHead(200, { "content-type": type }).end(body);
    }
    server = await serve(routes);
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  it("begins with three lines that run", async () => {
    const [code] = blocks("js");
    assert.equal(code.trim().split("\n").length, 3);
    const { page, problems } = await open("");
    const events = [];
    const done = new Promise((resolve) => {
      page.on("console", async (message) => {
        const event = await message.args()[0]?.jsonValue().catch(() => null);
        events.push(event?.type);
        if (event?.type === "done") resolve(event);
      });
    });
    await page.goto(`${server.origin}/test/page.html`);
    await page.setContent(`<script type="importmap">${IMPORTS}</script><script type="module">${code}</script>`);
    const failed = new Promise((_, reject) => page.on("pageerror", reject));
    const { usage } = await Promise.race([done, failed]);
    assert.ok(usage.completion_tokens > 20);
    for (const type of ["prefill", "reasoning", "answer"]) assert.ok(events.includes(type), type);
    assert.deepEqual(problems.filter((problem) => !problem.includes("404")), []); // The Hub's pointer, which there is none of.
    await page.context().close();
  });

  it("shows a plain page that answers", async () => {
    const [html] = blocks("html");
    const { page, problems } = await open(`<!doctype html><title>Plain</title><body></body>${html}`);
    await page.goto(`${server.origin}/readme.html`);
    await page.waitForFunction(() => /\d/.test(document.body.innerText), null, { timeout: 120_000 });
    assert.equal((await page.evaluate(() => document.body.innerText)).trim(), "1362 remainder 2.");
    assert.deepEqual(problems, []);
    await page.context().close();
  });

  it("has of the AI SDK what the example has, which is run elsewhere", async () => {
    const example = await readFile(`${WEB}examples/ai-sdk.ts`, "utf8");
    for (const line of blocks("ts")[0].trim().split("\n")) assert.ok(example.includes(line), line);
  });

  it("names every option, export and phase", async () => {
    const types = await readFile(`${WEB}src/types.ts`, "utf8");
    const [, options] = /interface LoadOptions \{(.*?)\n\}/s.exec(types);
    const names = [...options.matchAll(/^ {2}(\w+)\??:/gm)].map(([, name]) => name);
    assert.ok(names.length >= 10, names.join());
    for (const name of [...names, "probe", "lastCrash", "listModels", "deleteModel", "storageEstimate"]) {
      assert.match(readme, new RegExp(`\\b${name}\\b`), name);
    }
  });
});
