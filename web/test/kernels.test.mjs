// Every WGSL module that a browser can be handed compiles in one, without a message, and one kernel of each kind computes
// what the oracle computes.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openAloud } from "./browser.mjs";

describe("kernels", { timeout: 600_000 }, () => {
  let browser;
  before(async () => {
    browser = await openAloud();
  });
  after(() => browser?.close());

  it("compile without a message", async (t) => {
    const { adapter, kernels } = await browser.page.evaluate(async () => {
      const module = await import("/test/pkg/aloud_web_kernels.js");
      await module.default({ module_or_path: "/test/pkg/aloud_web_kernels_bg.wasm" });
      globalThis.kernels = module;
      const adapter = await navigator.gpu?.requestAdapter();
      if (!adapter) throw new Error("this browser offers no WebGPU adapter");
      const offered = ["subgroups", "shader-f16"].filter((feature) => adapter.features.has(feature));
      const device = await adapter.requestDevice({ requiredFeatures: offered });
      const compile = async ({ name, wgsl, features }) => {
        const missing = features.filter((feature) => !offered.includes(feature));
        if (missing.length) return { name, skipped: `this adapter has no ${missing}` };
        device.pushErrorScope("validation");
        const module = device.createShaderModule({ label: name, code: wgsl });
        const error = await device.popErrorScope();
        const { messages } = await module.getCompilationInfo();
        const lines = messages.map((m) => `${m.type} at ${m.lineNum}:${m.linePos}: ${m.message}`);
        // A second way to learn that a module is bad, should a browser have no message for it.
        if (error && !lines.length) lines.push(error.message);
        return { name, lines };
      };
      const kernels = [];
      for (const kernel of module.kernels()) kernels.push(await compile(kernel));
      const { vendor, architecture, description } = adapter.info;
      return { adapter: { vendor, architecture, description, offered }, kernels };
    });
    t.diagnostic(`adapter: ${JSON.stringify(adapter)}`);
    assert.notEqual(kernels.length, 0, "the wasm module offers no kernels");
    for (const { name, lines, skipped } of kernels) {
      await t.test(name, { skip: skipped }, () => assert.deepEqual(lines, []));
    }
  });

  it("compute what the oracle computes", async (t) => {
    const cases = await browser.run(async () => {
      return (await globalThis.kernels.runKernelCases()).map(({ name, error, tolerance }) => ({ name, error, tolerance }));
    });
    assert.notEqual(cases.length, 0, "nothing ran");
    for (const { name, error, tolerance } of cases) {
      await t.test(`${name}: off by ${error.toPrecision(2)}, allowed ${tolerance}`, () => {
        assert.ok(error <= tolerance);
      });
    }
  });

  for (const [what, halves] of [
    ["many rows as halves where there is shader-f16", true],
    ["few rows together", false],
  ]) {
    it(`multiply ${what}`, async (t) => {
      const { offered, cases } = await browser.run(async (halves) => {
        const adapter = await navigator.gpu.requestAdapter();
        const cases = await globalThis.kernels.runTiles(halves);
        const told = cases.map(({ name, error, tolerance }) => ({ name, error, tolerance }));
        return { offered: !halves || adapter.features.has("shader-f16"), cases: told };
      }, halves);
      assert.equal(cases.length > 0, offered);
      for (const { name, error, tolerance } of cases) {
        await t.test(`${name}: off by ${error.toPrecision(2)}, allowed ${tolerance}`, () => {
          assert.ok(error > 0 && error <= tolerance);
        });
      }
    });
  }

  it("are told of what the device refuses", async () => {
    const refused = await browser.run(() => globalThis.kernels.writePastTheEnd().then(() => null, String));
    assert.match(refused ?? "nothing was refused", /the device refused a request: /);
  });

  const { LAVAPIPE = "this file was run alone" } = process.env;
  it("run in a second Chromium too, on lavapipe", { skip: LAVAPIPE !== "tested" && LAVAPIPE }, () => {});

  it("leave no error on the page", () => assert.deepEqual(browser.problems, []));
});
