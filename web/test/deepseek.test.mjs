// A tiny DeepSeek-V3 on the real engine in a browser: logits of prompts in one chunk and in three, with keys and values
// absorbed and expanded, tokens, a second turn, and the same text with drafts, as transformers has them.
import assert from "node:assert/strict";
import { it } from "node:test";
import { openAloud } from "./browser.mjs";

it("a tiny DeepSeek-V3 computes what transformers computes", { timeout: 600_000 }, async (t) => {
  const browser = await openAloud();
  try {
    const findings = await browser.run(async () => {
      const kernels = await import("/test/pkg/aloud_web_kernels.js");
      await kernels.default({ module_or_path: "/test/pkg/aloud_web_kernels_bg.wasm" });
      return (await kernels.examineDeepseekV3()).map(({ name, error, tolerance }) => ({ name, error, tolerance }));
    });
    assert.notEqual(findings.length, 0, "nothing ran");
    for (const { name, error, tolerance } of findings) {
      await t.test(`${name}: off by ${error.toPrecision(2)}, allowed ${tolerance}`, () => {
        assert.ok(error <= tolerance);
      });
    }
    assert.deepEqual(browser.problems, []);
  } finally {
    await browser.close();
  }
});
