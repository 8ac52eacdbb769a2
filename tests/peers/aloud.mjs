// One round of Aloud in Chromium: the built package by its public API, in a worker, as pages use it.
//
//   node aloud.mjs MODEL [QUESTION]    MODEL is a GGUF file, or a folder as Hugging Face has it
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { TASK, fileRoute, folderRoutes, round } from "./page.mjs";

/** In the page. */
async function measure({ task, messages, model }) {
  const { load } = await import("/dist/index.js");
  // Nothing is drafted: one token a step, as the others do it.
  const engine = await load({ model, contextLength: 512, storage: "none", drafts: "off" });
  const ask = async (messages, max_tokens) => {
    const begun = performance.now();
    const [times, texts] = [[], []];
    let usage;
    for await (const event of engine.chat(messages, { temperature: 0, max_tokens })) {
      if (event.type === "done") ({ usage } = event);
      if (event.text === undefined) continue;
      times.push(performance.now());
      texts.push(event.text);
    }
    return { seconds: (performance.now() - begun) / 1000, times, text: texts.join(""), usage };
  };

  // The speed up to the first token of a prompt that has as many tokens to compute as the task wants. The template's
  // first tokens are in the cache from the try before, and do not count.
  const prefill = async () => {
    let words = task.prompt_tokens / 2;
    for (let first = 1; first < 8; first++) {
      const messages = [{ role: "system", content: `${first}` }, { role: "user", content: " the".repeat(words) }];
      const { seconds, usage } = await ask(messages, 1);
      const computed = usage.prompt_tokens - usage.prompt_tokens_details.cached_tokens;
      if (computed === task.prompt_tokens) return { prompt_tokens: computed, prefill: computed / seconds };
      words += task.prompt_tokens - computed;
    }
    throw new Error(`no prompt has ${task.prompt_tokens} tokens`);
  };

  await ask(messages, 4); // to warm up
  const speed = await prefill();
  const { times, text, usage } = await ask(messages, task.answer_tokens + 1);
  await engine.dispose();
  return { ...speed, cached_tokens: usage.prompt_tokens, times, answer: text };
}

const [file, question] = process.argv.slice(2);
const isFolder = statSync(file).isDirectory();
const messages = [{ role: "system", content: TASK.system }, { role: "user", content: TASK.question }];
await round({
  peer: "aloud",
  version: "", // that of this repository
  routes: {
    ...(await folderRoutes("/dist/", fileURLToPath(new URL("../../web/dist", import.meta.url)))),
    ...(isFolder ? await folderRoutes("/model/", file) : { "/model.gguf": fileRoute(file) }),
  },
  measure,
  argument: {
    task: TASK,
    messages: question ? [{ role: "user", content: question }] : messages,
    model: isFolder ? "/model/" : "/model.gguf",
  },
});
