// A tab that is killed while it loads, and one while it answers: the next visit is told which, and the demo page shows it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { launch } from "./browser.mjs";
import { bundlePage } from "./bundle.mjs";
import { FaultyFile } from "./faults.mjs";
import { ROOT } from "./models.mjs";
import { serve } from "./server.mjs";
import { until } from "./wait.mjs";

describe("a tab that was killed", { timeout: 300_000 }, () => {
  let server, browser, context;
  let weights;
  before(async () => {
    weights = new FaultyFile(await readFile(`${ROOT}models/tiny-r1/model.safetensors`));
    const routes = await bundlePage(null);
    server = await serve({ ...routes, "/models/tiny-r1/model.safetensors": weights.handler });
    browser = await launch();
    context = await browser.newContext();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  /** Opens the demo page. */
  const open = async () => {
    const page = await context.newPage();
    await page.goto(server.origin);
    return page;
  };

  /** Kills a tab, and expects that a probe and the page tell of it. The page that does is given. */
  async function killed(tab, phase, words) {
    await tab.goto("chrome://crash").catch(() => {});
    await tab.close();
    const other = await context.newPage();
    await other.goto(`${server.origin}/test/page.html`);
    const lastCrash = () =>
      other.evaluate(async () => (await (await import("/dist/index.js")).probe()).lastCrash).then((crash) => crash ?? {});
    await until(async () => (await lastCrash()).source, "the record");
    const crash = await lastCrash();
    assert.deepEqual([crash.source, crash.phase], [`${server.origin}/models/tiny-r1/`, phase]);
    await other.close();
    const page = await open();
    await page.getByRole("status").getByText(words).waitFor();
    return page;
  }

  it("while it loaded, and while it answered", async () => {
    weights.gate = () => true;
    let page = await open();
    await until(() => weights.waiting.length > 0, "the request of the weights");
    await until(() => page.evaluate(() => chat.progress?.phase === "download"), "the phase");
    page = await killed(page, "download", "ended while tiny-r1 was loading (download)");
    weights.release();
    await page.getByRole("list", { name: "Examples" }).getByRole("button", { name: /stack of boxes/ }).click();
    await page.waitForFunction(() => chat.turns.at(-1)?.thought.length > 5, null, { timeout: 120_000 });
    page = await killed(page, "answer", "ended while tiny-r1 was answering");
    // What ends well is not told.
    await page.getByText(/on .*\. Nothing you write/).waitFor({ timeout: 120_000 });
    page = await open();
    await page.getByText(/on .*\. Nothing you write/).waitFor({ timeout: 120_000 });
    assert.ok(await page.locator("#crash").isHidden());
  });
});
