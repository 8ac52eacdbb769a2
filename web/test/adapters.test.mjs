// The examples of the adapters, with the built package and tiny-r1-distill.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { build } from "vite";
import { openPackage } from "./browser.mjs";
import { WEB, modelRoutes } from "./models.mjs";

/** An example with all that it imports but the package itself, as a route. */
async function example(name) {
  const packaged = (entry) => ({ find: new RegExp(`^aloud${entry.from}$`), replacement: `/dist/${entry.to}.js` });
  const result = await build({
    configFile: false,
    logLevel: "warn",
    root: WEB,
    define: { "process.env.NODE_ENV": '"production"' },
    resolve: {
      alias: [
        packaged({ from: "", to: "index" }),
        packaged({ from: "/ai-sdk", to: "ai-sdk" }),
        packaged({ from: "/prompt-api", to: "prompt-api" }),
      ],
    },
    build: {
      write: false,
      lib: { entry: path.join(WEB, `examples/${name}.ts`), formats: ["es"], fileName: name },
      rolldownOptions: { external: [/^\/dist\//] },
    },
  });
  const { code } = [result].flat()[0].output[0];
  return [`/examples/${name}.js`, (_, response) => response.writeHead(200, { "content-type": "text/javascript" }).end(code)];
}

describe("adapters", { timeout: 300_000 }, () => {
  let browser;
  before(async () => {
    const examples = Object.fromEntries(await Promise.all(["ai-sdk", "prompt-api"].map(example)));
    browser = await openPackage({ ...(await modelRoutes()), ...examples });
  });
  after(() => browser?.close());

  it("stream thoughts and text through the AI SDK", async () => {
    const said = await browser.run(async (question) => {
      const { ask } = await import("/examples/ai-sdk.js");
      return ask("/models/tiny-r1-distill.gguf", question);
    }, "What is 123 times 45?");
    assert.match(said.reasoning, /\d\*\d/);
    assert.match(said.text, /\d/);
    const kinds = said.parts.filter((part, i, parts) => part !== parts[i - 1]);
    const expected = ["reasoning-start", "reasoning-delta", "reasoning-end", "text-start", "text-delta", "text-end"];
    assert.deepEqual(kinds.filter((kind) => /^(reasoning|text)-/.test(kind)), expected);
    assert.equal(said.finishReason, "stop");
    assert.ok(said.usage.outputTokens > 20 && said.usage.inputTokens > 5, JSON.stringify(said.usage));
  });

  it("stand in for LanguageModel", async () => {
    const said = await browser.run(async ([first, second]) => {
      const { converse } = await import("/examples/prompt-api.js");
      return converse("/models/tiny-r1-distill.gguf", first, second);
    }, ["What is 7 + 5?", "What is 20 + 30?"]);
    assert.equal(said.after, "available");
    assert.ok(["downloadable", "available"].includes(said.before));
    assert.deepEqual([said.loaded[0], said.loaded.at(-1)], [0, 1]);
    for (const text of [said.streamed, said.next, said.branched]) assert.match(text, /^\d+\.$/);
    assert.equal(said.refused, "InvalidStateError");
  });

  it("give every creation its own signal, and refuse options that there are not", async () => {
    const said = await browser.run(async () => {
      const { languageModel } = await import("/dist/prompt-api.js");
      const LanguageModel = languageModel({ model: "/models/tiny-r1-distill.gguf", contextLength: 512, reasoning: { effort: "none" } });
      const name = (work) => work.then(() => "fine", (error) => `${error.name}: ${error.message}`);
      const [first, second] = [new AbortController(), new AbortController()];
      const creations = [first, second].map(({ signal }) => LanguageModel.create({ signal }));
      first.abort();
      const [aborted, created] = [await name(creations[0]), await creations[1]];
      const answer = await created.prompt("What is 7 + 5?");
      const option = await name(LanguageModel.create({ temperature: 1 }));
      const constraint = await name(created.prompt("?", { responseConstraint: {} }));
      second.abort();
      const destroyed = await name(created.prompt("What is 7 + 5?"));
      // Nobody waits for this load any more: it ends, and the next one begins anew.
      const other = languageModel({ model: "/models/tiny-r1-distill.gguf", contextLength: 256 });
      const alone = new AbortController();
      const creation = name(other.create({ signal: alone.signal }));
      alone.abort();
      return { aborted, answer, option, constraint, destroyed, alone: await creation, again: await name(other.create()) };
    });
    assert.match(said.aborted, /^AbortError/);
    assert.match(said.answer, /\d/);
    assert.match(said.option, /^NotSupportedError: `temperature`/);
    assert.match(said.constraint, /^NotSupportedError: `responseConstraint`/);
    assert.match(said.destroyed, /^InvalidStateError/);
    assert.match(said.alone, /^AbortError/);
    assert.equal(said.again, "fine");
  });

  it("leave no error on the page", () => assert.deepEqual(browser.problems, []));
});
