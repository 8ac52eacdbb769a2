// The demo page, built as it is served, with the engine written by the test.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { bundlePage } from "./bundle.mjs";
import { demoPolicy } from "./chat.mjs";
import { serve } from "./server.mjs";

let server;
let browser;
let page;
let requests;
let problems;

before(async () => {
  server = await serve(await bundlePage("test/doubles/aloud.ts"));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.close();
});
afterEach(async () => {
  await page.context().close();
  assert.deepEqual(problems, []);
  for (const url of requests) assert.equal(new URL(url).origin, server.origin, url);
});

async function open(options = {}) {
  page = await (await browser.newContext(options)).newPage();
  [requests, problems] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await page.goto(server.origin);
  await page.waitForFunction(() => globalThis.script?.loads.length);
}

const button = (name) => page.getByRole("button", { name });
const models = () => page.evaluate(() => script.loads.map(({ options }) => options.model));
const last = (call) => page.evaluate(`(() => { script.loads.at(-1).${call} })()`);
const panel = async () => {
  await button(/^Model/).click();
  await page.getByRole("dialog", { name: "Models" }).waitFor();
};

test("it starts on tiny-r1 of its own origin, and asks for nothing but its own files", async () => {
  await open();
  assert.deepEqual(await models(), [`${server.origin}/models/tiny-r1/`]);
  await page.getByText("tiny-r1 · 7.3 M · FP8 · 9.40 MB on Scripted GPU").waitFor();
  await page.waitForTimeout(300);
  const paths = requests.map((url) => new URL(url).pathname);
  assert.ok(paths.length >= 3 && paths.length <= 8, paths.join(" "));
  for (const path of paths) assert.match(path, /^\/(|icon\.svg|assets\/index-[\w-]+\.(js|css))$/);
});

test("three puzzles are one click away, each for itself, in words that the model knows", async () => {
  await open();
  const list = page.getByRole("list", { name: "Examples" });
  assert.deepEqual(await list.getByRole("button").count(), 3);
  await list.getByRole("button", { name: /^A long division/ }).click();
  await last(
    `engine.say("1362 remainder 2."); script.loads.at(-1).engine.done(40, 8)`,
  );
  await page.getByText("1362 remainder 2.").first().waitFor();
  assert.equal(await list.getByRole("button").count(), 2); // Those that were not taken stay.
  await list.getByRole("button", { name: "A multiplication" }).click();
  await page.waitForFunction(() => script.loads[0].engine.calls.length === 2);
  const asked = await page.evaluate(() => script.loads[0].engine.calls.map(({ messages }) => messages));
  assert.deepEqual(asked[0], [{ role: "user", content: "What is 8174 divided by 6?" }]);
  assert.deepEqual(asked[1], [{ role: "user", content: "Multiply 347 by 28." }]);
});

test("models are offered with their size and what this device makes of them", async () => {
  await open();
  await panel();
  const row = (name) => page.getByRole("listitem").filter({ has: page.getByText(name, { exact: true }) });
  await row("R1 Distill Qwen 1.5B").getByText("Runs here: about 24.2 tokens/s").waitFor();
  assert.match(await row("R1 Distill Qwen 1.5B").textContent(), /1\.12 GB/);
  await row("R1 Distill Qwen 7B").getByText("Tight here: about 4.0 tokens/s; close other tabs").waitFor();
  await row("R1 Distill Qwen 14B").getByText("Not here: it needs 8.6 GiB").waitFor();
  assert.ok(await button("Use R1 Distill Qwen 14B").isDisabled());
  await row("R1 Distill Llama 8B").getByText("huggingface.co was not reached").waitFor();
  assert.ok(await button("tiny-r1 is in use").isDisabled());
  await button("Use R1 Distill Qwen 1.5B").click();
  await page.waitForFunction(() => script.loads.length === 2);
  assert.match((await models())[1], /^hf:bartowski\/DeepSeek-R1-Distill-Qwen-1\.5B-GGUF\/.*Q4_K_M\.gguf$/);
  assert.ok(await page.evaluate(() => script.loads[0].engine.disposed));
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.equal(await page.locator("#model-name").textContent(), "R1 Distill Qwen 1.5B");
});

test("an address of one's own loads, another text says what an address is", async () => {
  await open();
  await panel();
  const address = page.getByRole("textbox", { name: "Address of a model" });
  await address.fill("javascript:alert(1)");
  await page.keyboard.press("Enter");
  assert.match(await page.getByRole("alert").textContent(), /begins with https:\/\//);
  await address.fill("https://models.example/a/b.gguf");
  await button("Load").click();
  await page.waitForFunction(() => script.loads.length === 2);
  assert.equal((await models())[1], "https://models.example/a/b.gguf");
  assert.equal(await page.locator("#model-name").textContent(), "b");
});

test("a file from the disk loads, by the picker and by dropping it", async () => {
  await open();
  await panel();
  const file = { name: "own.gguf", mimeType: "application/octet-stream", buffer: Buffer.from("GGUF") };
  await page.locator("input[type=file]").setInputFiles(file);
  await page.waitForFunction(() => script.loads.length === 2);
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    for (const part of ["b-2.gguf", "b-1.gguf"]) dataTransfer.items.add(new File(["GGUF"], part));
    for (const type of ["dragover", "drop"]) {
      dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
  });
  await page.waitForFunction(() => script.loads.length === 3);
  const names = await page.evaluate(() =>
    script.loads.slice(1).map(({ options }) => [options.model].flat().map((part) => part.name)),
  );
  assert.deepEqual(names, [["own.gguf"], ["b-1.gguf", "b-2.gguf"]]);
});

test("what is stored is told, and can be deleted", async () => {
  await open();
  await panel();
  await page.getByText("2.02 GB of 120 GB that this page may use").waitFor();
  await page.getByText("900 MB of 4.68 GB, not complete").waitFor();
  await button("Delete big").click();
  await button("Delete big").waitFor({ state: "detached" });
  await button(/^Delete DeepSeek-R1/).click();
  await page.getByText("No model is stored.").waitFor();
});

test("a load that fails says why and can be tried again; a later choice ends an earlier one", async () => {
  await open();
  await page.evaluate(() => (script.instant = false));
  await panel();
  await button("Use R1 Distill Qwen 1.5B").click();
  await page.waitForFunction(() => script.loads.length === 2);
  await last(`fail("huggingface.co was not reached; try again")`);
  assert.match(await page.getByRole("alert").textContent(), /huggingface\.co was not reached/);
  await button("Try again").click();
  await page.waitForFunction(() => script.loads.length === 3);
  await panel();
  await button("Use R1 Distill Llama 8B").click();
  await page.waitForFunction(() => script.loads.length === 4);
  assert.ok(await page.evaluate(() => script.loads[2].options.signal.aborted));
  await page.evaluate(() => script.loads[2].finish());
  await page.waitForFunction(() => script.loads[2].engine.disposed);
});

test("the sheet goes by keyboard: Escape closes it, and the focus returns", async () => {
  await open();
  await button(/^Model/).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Models" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-models");
});

test("nothing scrolls sideways at 360 px, the sheet included", async () => {
  await open({ viewport: { width: 360, height: 640 } });
  const wide = () =>
    page.evaluate(() =>
      [document.documentElement, document.querySelector("dialog"), chat.shadowRoot.querySelector(".log")].map(
        (element) => element.scrollWidth - element.clientWidth,
      ),
    );
  assert.deepEqual(await wide(), [0, 0, 0]);
  await panel();
  await page.getByText("900 MB of 4.68 GB").waitFor();
  assert.deepEqual(await wide(), [0, 0, 0]);
});

test("colours change by a button that says so", async () => {
  await open({ colorScheme: "light" });
  const toggle = button("Dark colours");
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await toggle.click();
  assert.equal(await toggle.getAttribute("aria-pressed"), "true");
  assert.notEqual(await paper(), light);
});

test("the policy is strict, and the page keeps to it", async () => {
  const policy = await demoPolicy();
  for (const part of [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "base-uri 'none'",
  ]) {
    assert.ok(policy.split("; ").includes(part), part);
  }
  assert.doesNotMatch(policy, /'unsafe-(inline|eval)'|data:|blob:|\*/);
  await open();
  const stopped = await page.evaluate(() => {
    const tries = [() => (document.body.innerHTML = "<b>a</b>"), () => new Worker("https://evil.test/worker.js")];
    return tries.map((attempt) => {
      try {
        attempt();
        return false;
      } catch {
        return true;
      }
    });
  });
  assert.deepEqual(stopped, [true, true]);
  problems = problems.filter((problem) => !/Content Security Policy|TrustedHTML|TrustedScript/i.test(problem));
});
