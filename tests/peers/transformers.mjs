// One round of transformers.js on WebGPU: its `generate`, timed by a streamer.
//
//   node transformers.mjs FOLDER    what onnx_model.py made
import { existsSync } from "node:fs";
import path from "node:path";
import { PROMPT_IDS, QUESTION, TASK, folderRoutes, packageFolder, round } from "./page.mjs";

/** In the page. */
async function measure({ task, promptIds, question }) {
  const { AutoModelForCausalLM, AutoTokenizer, Tensor, env } = await import("/transformers/transformers.min.js");
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: "/models/" });
  Object.assign(env, { useBrowserCache: false, useWasmCache: false });
  env.backends.onnx.wasm.wasmPaths = `${location.origin}/ort/`;
  const model = await AutoModelForCausalLM.from_pretrained("smollm2", { device: "webgpu", dtype: "q4" });
  const tokenizer = await AutoTokenizer.from_pretrained("smollm2");

  const generate = async (ids, max_new_tokens) => {
    const times = [];
    const tensor = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const begun = performance.now();
    const out = await model.generate({
      input_ids: tensor(ids),
      attention_mask: tensor(ids.map(() => 1)),
      max_new_tokens,
      min_new_tokens: max_new_tokens,
      do_sample: false,
      // The prompt is put into it first.
      streamer: { put: () => times.push(performance.now()), end: () => {} },
    });
    return { seconds: (times.at(-1) - begun) / 1000, times: times.slice(-max_new_tokens), ids: out.tolist()[0] };
  };

  await generate(promptIds, 3); // to warm up
  const { seconds } = await generate(promptIds, 1);
  const questionIds = tokenizer.encode(question, { add_special_tokens: false });
  const { times, ids } = await generate(questionIds, task.answer_tokens + 1);
  return {
    prompt_tokens: promptIds.length,
    prefill: promptIds.length / seconds,
    cached_tokens: questionIds.length,
    times,
    answer: tokenizer.decode(ids.slice(questionIds.length), { skip_special_tokens: true }),
  };
}

const dist = (name) => path.join(packageFolder(name), "dist");
// It has a version of onnxruntime-web of its own, unless that is the one beside it.
const own = dist("@huggingface/transformers/node_modules/onnxruntime-web");
await round({
  peer: "@huggingface/transformers",
  routes: {
    ...(await folderRoutes("/transformers/", dist("@huggingface/transformers"))),
    ...(await folderRoutes("/ort/", existsSync(own) ? own : dist("onnxruntime-web"))),
    ...(await folderRoutes("/models/smollm2/", process.argv[2])),
  },
  measure,
  argument: { task: TASK, promptIds: PROMPT_IDS, question: QUESTION },
  usedGpu: ({ dispatches }) => dispatches > TASK.answer_tokens,
});
