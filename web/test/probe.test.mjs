// What `probe()` foretells, against what is then measured; and a real file, whose text is that of the native engine.
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { openPackage } from "./browser.mjs";
import { readGguf, texts } from "./gguf.mjs";
import { modelRoutes, ROOT, SMOLLM2 } from "./models.mjs";
import { byRanges } from "./server.mjs";

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
      let [found, seconds] = [await aloud.probe(), Infinity];
      for (let i = 0; i < 3; i++) {
        const started = performance.now();
        found = await aloud.probe();
        seconds = Math.min(seconds, (performance.now() - started) / 1e3);
      }
      return { found, seconds };
    });
    assert.ok(found.available && found.adapter && found.model === undefined, JSON.stringify(found));
    const { gigabytesPerSecond, microsecondsPerDispatch, readbackMilliseconds } = found.speed;
    for (const figure of [gigabytesPerSecond, microsecondsPerDispatch, readbackMilliseconds]) assert.ok(figure > 0);
    assert.ok(found.limits.maxBindingBytes >= 128 << 20);
    console.log(`# ${JSON.stringify(found.speed)} in ${seconds.toFixed(2)} s`);
    assert.ok(seconds <= 1, `the best of three took ${seconds} s`);
  });

  for (const [name, url, contextLength] of [
    ["tiny-r1-distill", "/models/tiny-r1-distill.gguf", 512],
    ["SmolLM2-135M", "/smollm2.gguf", 256],
  ]) {
    it(`foretells the speed of ${name} within a factor of 2, of 4 on lavapipe`, async () => {
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
        // What the time to the first token was foretold for is a prompt of 128 tokens; this one has about as many.
        const { usage, timings } = await engine.chat.completions.create({
          messages: [{ role: "user", content: Array.from({ length: 25 }, (_, i) => 37 * (i + 1)).join(" + ") }], temperature: 0, max_tokens: 1,
        });
        const first = { tokens: usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens, ms: timings.time_to_first_token_ms };
        const { adapter, gpuBytes, wasmBytes } = engine.model;
        await engine.dispose();
        return { ...text, speed, first, adapter, gpuBytes, wasmBytes };
      }, [url, contextLength]);
      const ratio = foretold.tokensPerSecond / measured.speed;
      console.log(`# ${name}: ${foretold.tokensPerSecond.toFixed(1)} foretold, ${measured.speed.toFixed(1)} measured`);
      // A small model's steps on lavapipe take as long as a readback, which may hide behind them or not.
      const most = measured.adapter.includes("llvmpipe") ? 4 : 2;
      assert.ok(ratio > 1 / most && ratio < most, `${ratio.toFixed(2)} times what was measured`);
      const { tokens, ms } = measured.first;
      const firstRatio = (foretold.timeToFirstTokenMilliseconds * tokens) / 128 / ms;
      console.log(`# ${name}: first token after ${tokens} of prompt ${firstRatio.toFixed(2)} times the ${ms.toFixed(0)} ms measured`);
      assert.ok(firstRatio > 1 / 3 && firstRatio < 3, `the first token: ${firstRatio.toFixed(2)} times what was measured`);
      // What transformers says, and the native engine in its tests.
      if (name === "SmolLM2-135M") assert.equal(measured.said, "The capital of France is Paris.");
      console.log(`# ${name}: ${measured.wasmBytes} bytes of wasm memory`);
      assert.ok(measured.wasmBytes <= 64 * 2 ** 20, `${measured.wasmBytes} bytes of wasm memory`);
      assert.ok(foretold.totalBytes <= measured.gpuBytes && measured.gpuBytes < foretold.totalBytes * 1.1 + 16e6);
    });
  }

  it("comes before greedy text that is the native engine's, token by token", async () => {
    const golden = JSON.parse(readFileSync(`${ROOT}tests/goldens/models/smollm2.json`)).find(({ text }) => text === "Explain why the sky is blue to a child.");
    const tokens = texts(readGguf(readFileSync(SMOLLM2)).metadata.get("tokenizer.ggml.tokens"));
    const expected = golden.ids.slice(0, 24).map((id) => tokens[id]).join("").replaceAll("Ġ", " ").replaceAll("Ċ", "\n");
    const { said, usage } = await browser.run(async (content) => {
      const engine = await aloud.load({ model: "/smollm2.gguf", contextLength: 256, drafts: "off", storage: "none" });
      const request = { messages: [{ role: "user", content }], temperature: 0, max_tokens: 24 };
      const { choices, usage } = await engine.chat.completions.create(request);
      await engine.dispose();
      return { said: choices[0].message.content, usage };
    }, golden.text);
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [golden.prompt.length, 24]);
    assert.equal(said, expected);
  });

  it("reads the header alone, by steps of 1 MiB and one ahead", async () => {
    served = 0;
    await browser.run(() => aloud.probe({ model: "/smollm2.gguf" }));
    const { tensors } = readGguf(readFileSync(SMOLLM2));
    const header = statSync(SMOLLM2).size - tensors.reduce((sum, { bytes }) => sum + bytes.length, 0);
    console.log(`# ${served} bytes of which ${header} are the header`);
    assert.ok(served >= header && served <= header + (2 << 20), `${served} bytes for a header of ${header}`);
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
