// One round of wllama, llama.cpp as wasm with its backend for WebGPU.
//
//   node wllama.mjs MODEL.gguf
import path from "node:path";
import { QUESTION, TASK, fileRoute, folderRoutes, packageFolder, round } from "./page.mjs";

/** In the page. */
async function measure({ task, question }) {
  const { Wllama } = await import("/wllama/index.js");
  const wllama = new Wllama({ default: `${location.origin}/wllama/wasm/wllama.wasm` });
  wllama.setCompat(null); // Without it other builds come from the network.
  const model = await (await fetch("/model.gguf")).blob();
  // Its backend gives up when a batch takes the GPU more than 30 s, as 128 rows do on slow machines.
  const rows = { n_batch: task.prompt_tokens, n_ubatch: task.prompt_tokens / 4 };
  await wllama.loadModel([model], { n_ctx: 512, n_gpu_layers: 99, n_parallel: 1, log_level: 2, ...rows });

  const complete = async (prompt, max_tokens) => {
    const begun = performance.now();
    const [times, texts] = [[], []];
    let prompt_tokens;
    const options = { prompt, max_tokens, temperature: 0, ignore_eos: true, cache_prompt: false, stream: true };
    for await (const { choices, timings } of await wllama.createCompletion(options)) {
      prompt_tokens = timings?.prompt_n ?? prompt_tokens;
      if (!choices[0]?.text) continue;
      times.push(performance.now());
      texts.push(choices[0].text);
    }
    return { seconds: (times[0] - begun) / 1000, times, text: texts.join(""), prompt_tokens };
  };

  const prompt = `Once${" the".repeat(task.prompt_tokens - 1)}`;
  await complete(prompt, 2); // to warm up
  const { seconds, prompt_tokens } = await complete(prompt, 1);
  const { times, text, prompt_tokens: cached_tokens } = await complete(question, task.answer_tokens + 1);
  await wllama.exit();
  return { prompt_tokens, prefill: prompt_tokens / seconds, cached_tokens, times, answer: text };
}

await round({
  peer: "@wllama/wllama",
  routes: {
    ...(await folderRoutes("/wllama/", path.join(packageFolder("@wllama/wllama"), "esm"))),
    "/model.gguf": fileRoute(process.argv[2]),
  },
  measure,
  argument: { task: TASK, question: QUESTION },
  // It computes in a worker, and without shader-f16 silently on the CPU: this line is what tells.
  usedGpu: ({ logs }) => logs.some((line) => /WebGPU model buffer size/.test(line)),
});
