// What `probe()` foretells, against what is then measured; and a real file, whose text is that of the native engine.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openPackage } from "./browser.mjs";
import { WEB, modelRoutes } from "./models.mjs";
import { byRanges } from "./server.mjs";

const SMOLLM2 = path.join(WEB, "../assets/SmolLM2-135M-Instruct.Q4_1.gguf");

describe("a probe", { timeout: 900_000 }, () => {
  let browser;
  let served = 0;
  before(async () => {
    assert.ok(existsSync(SMOLLM2), `${SMOLLM2} is not there: run \`cargo xtask assets\``);
    const bytes = readFileSync(SMOLLM2);
    const serve = byRanges(bytes);
    const counted = (request, response) => {
      const [, first = 0, last = bytes.length - 1] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      served += Math.min(Number(last), bytes.length - 1) - Number(first) + 1;
      return serve(request, response);
    };
    browser = await openPackage({ ...(await modelRoutes()), "/smollm2.gguf": counted });
  });
  after(() => browser?.close());

  it("looks at the GPU alone", async () => {
    const { found, seconds } = await browser.run(async () => {
      await aloud.probe();
      const started = performance.now();
      return { found: await aloud.probe(), seconds: (performance.now() - started) / 1e3 };
    });
    assert.ok(found.available && found.adapter && found.model === undefined, JSON.stringify(found));
    const { gigabytesPerSecond, microsecondsPerDispatch, readbackMilliseconds } = found.speed;
    for (const figure of [gigabytesPerSecond, microsecondsPerDispatch, readbackMilliseconds]) assert.ok(figure > 0);
    assert.ok(found.limits.maxBindingBytes >= 128 << 20);
    console.log(`# ${JSON.stringify(found.speed)} in ${seconds.toFixed(2)} s`);
  });

  for (const [name, url, contextLength] of [
    ["tiny-r1-distill", "/models/tiny-r1-distill.gguf", 512],
    ["SmolLM2-135M", "/smollm2.gguf", 256],
  ]) {
    it(`foretells the speed of ${name} within a factor of 2`, async () => {
      const foretold = await browser.run(([model, contextLength]) => aloud.probe({ model, contextLength }).then((p) => p.model), [url, contextLength]);
      assert.equal(foretold.verdict, "ok", foretold.reason);
      const measured = await browser.run(async ([model, contextLength]) => {
        globalThis.engine = await aloud.load({ model, contextLength, drafts: "off", storage: "none" });
        const ask = async (content, max_tokens) => {
          const request = { messages: [{ role: "user", content }], temperature: 0, max_tokens };
          const { timings, choices } = await engine.chat.completions.create(request);
          return { speed: timings.decode_tokens_per_second, said: choices[0].message.content };
        };
        const text = await ask("What is the capital of France?", 8);
        const { speed } = await ask("What is 123 times 45?", 10);
        const { gpuBytes, wasmBytes } = engine.model;
        await engine.dispose();
        return { ...text, speed, gpuBytes, wasmBytes };
      }, [url, contextLength]);
      const ratio = foretold.tokensPerSecond / measured.speed;
      console.log(`# ${name}: ${foretold.tokensPerSecond.toFixed(1)} foretold, ${measured.speed.toFixed(1)} measured`);
      assert.ok(ratio > 0.5 && ratio < 2, `${ratio.toFixed(2)} times what was measured`);
      // What transformers says, and the native engine in its tests.
      if (name === "SmolLM2-135M") assert.equal(measured.said, "The capital of France is Paris.");
      console.log(`# ${name}: ${measured.wasmBytes} bytes of wasm memory`);
      assert.ok(measured.wasmBytes <= 64 * 2 ** 20, `${measured.wasmBytes} bytes of wasm memory`);
      assert.ok(foretold.totalBytes <= measured.gpuBytes && measured.gpuBytes < foretold.totalBytes * 1.1 + 16e6);
    });
  }

  it("reads no more than the header's chunk", async () => {
    served = 0;
    await browser.run(() => aloud.probe({ model: "/smollm2.gguf" }));
    assert.ok(served > 0 && served < 20 << 20, `${served} bytes`);
  });

  it("says no, and what would fit", async () => {
    const found = await browser.run(async () => {
      const { model } = await aloud.probe({ model: "/smollm2.gguf", contextLength: 1_000_000 });
      return model;
    });
    assert.equal(found.verdict, "no");
    assert.match(found.reason, /8192/);
    assert.equal(found.fittingContextLength, 8192);
  });

  it("says in words that WebGPU is missing", async () => {
    const { reason, available } = await browser.run(async () => {
      const gpu = Object.getOwnPropertyDescriptor(Navigator.prototype, "gpu");
      Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
      const found = await aloud.probe();
      delete navigator.gpu;
      Object.defineProperty(Navigator.prototype, "gpu", gpu);
      return found;
    });
    assert.equal(available, false);
    assert.match(reason, /no WebGPU/);
  });

  it("leaves no error on the page", () => assert.deepEqual(browser.problems, []));
});
