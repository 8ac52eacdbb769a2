// The models in models/ answer held-out questions in a browser as transformers does: through the API that pages use, from
// a folder and from a GGUF file behind URLs.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { openAloud } from "./browser.mjs";
import { byRanges } from "./server.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const N_QUESTIONS = { "tiny-r1/": 10, "tiny-r1-distill.gguf": 3 };

/** A route for each file of models/. */
async function modelRoutes() {
  const names = [...(await readdir(`${ROOT}models/tiny-r1`)).map((name) => `tiny-r1/${name}`), "tiny-r1-distill.gguf"];
  const route = async (name) => [`/models/${name}`, byRanges(await readFile(`${ROOT}models/${name}`))];
  return Object.fromEntries(await Promise.all(names.map(route)));
}

async function goldens(name) {
  const text = await readFile(`${ROOT}tests/goldens/${name}.jsonl`, "utf8");
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

describe("models", { timeout: 900_000 }, () => {
  let browser;
  before(async () => {
    browser = await openAloud(await modelRoutes());
  });
  after(() => browser?.close());

  for (const [file, golden] of [["tiny-r1/", "tiny_r1"], ["tiny-r1-distill.gguf", "tiny_r1_distill"]]) {
    it(`${file} answers as transformers does`, async (t) => {
      await browser.run(async (url) => {
        globalThis.model?.free();
        globalThis.model = await globalThis.aloud.Model.load(url);
      }, `/models/${file}`);
      const lines = (await goldens(golden)).slice(0, N_QUESTIONS[file]);
      assert.equal(lines.length, N_QUESTIONS[file]);
      for (const { question, prompt_ids, ids, text } of lines) {
        // A GGUF file recommends nothing itself; what R1's makers do is to draw.
        const temperature = file.endsWith(".gguf") ? 0 : undefined;
        const answered = await browser.run(async ({ question, temperature }) => {
          const parts = { reasoning: "", answer: "" };
          const ending = await globalThis.model.ask(question, (part, text) => (parts[part] += text), temperature);
          const { finishReason, promptTokens, completionTokens, tokensPerSecond } = ending;
          return { ...parts, finishReason, promptTokens, completionTokens, tokensPerSecond };
        }, { question, temperature });
        await t.test(`${question} (${answered.tokensPerSecond.toFixed(1)} tokens/s)`, () => {
          const [reasoning, answer = ""] = text.replace("<｜end▁of▁sentence｜>", "").split("</think>");
          assert.equal(answered.reasoning, reasoning);
          assert.equal(answered.answer, answer.replace(/^\n{1,2}/, ""));
          assert.equal(answered.finishReason, "stop");
          assert.deepEqual([answered.promptTokens, answered.completionTokens], [prompt_ids.length, ids.length]);
        });
      }
    });
  }

  it("end an answer when the listener throws", async () => {
    const ending = await browser.run(async () => {
      const { finishReason, completionTokens } = await globalThis.model.ask("What is 27 + 48?", () => {
        throw new Error("enough");
      });
      return { finishReason, completionTokens };
    });
    assert.equal(ending.finishReason, "cancelled");
    assert.ok(ending.completionTokens < 10, `${ending.completionTokens} tokens`);
  });

  it("are refused with the file that is missing", async () => {
    const refused = await browser.run(() => globalThis.aloud.Model.load("/models/").then(() => "nothing", String));
    assert.match(refused, /\/models\/model\.safetensors.*404/);
    // The browser logs each missing file.
    browser.problems.splice(0).forEach((problem) => assert.match(problem, /404/));
  });

  it("leave no error on the page", () => assert.deepEqual(browser.problems, []));
});
