// One round of onnxruntime-web on WebGPU: a session whose cache stays on the GPU, and a greedy loop around it.
//
//   node onnxruntime.mjs FOLDER    what onnx_model.py made
import { readFileSync } from "node:fs";
import path from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { PROMPT_IDS, QUESTION, TASK, fileRoute, folderRoutes, packageFolder, round } from "./page.mjs";

/** In the page. */
async function measure({ task, promptIds, questionIds, config }) {
  const ort = await import("/ort/ort.webgpu.min.mjs");
  ort.env.wasm.wasmPaths = `${location.origin}/ort/`;
  const { num_hidden_layers, num_key_value_heads, hidden_size, num_attention_heads } = config;
  const layers = Array.from({ length: num_hidden_layers }, (_, i) => [`${i}.key`, `${i}.value`]).flat();
  const session = await ort.InferenceSession.create("/model.onnx", {
    executionProviders: ["webgpu"],
    preferredOutputLocation: Object.fromEntries(layers.map((name) => [`present.${name}`, "gpu-buffer"])),
  });

  let cache;
  let cached;
  const forget = () => {
    for (const tensor of Object.values(cache ?? {})) tensor.dispose();
    const shape = [1, num_key_value_heads, 0, hidden_size / num_attention_heads];
    const empty = (name) => [`past_key_values.${name}`, new ort.Tensor("float32", new Float32Array(0), shape)];
    cache = Object.fromEntries(layers.map(empty));
    cached = 0;
  };
  const int64 = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  /** Takes tokens into the cache and gives the likeliest next one. */
  const step = async (ids) => {
    const all = Array.from({ length: cached + ids.length }, (_, i) => i);
    const feeds = { input_ids: int64(ids), attention_mask: int64(all.map(() => 1)), ...cache };
    if (session.inputNames.includes("position_ids")) feeds.position_ids = int64(all.slice(cached));
    const out = await session.run(feeds);
    for (const tensor of Object.values(cache)) tensor.dispose();
    cache = Object.fromEntries(layers.map((name) => [`past_key_values.${name}`, out[`present.${name}`]]));
    cached = all.length;
    const scores = out.logits.data.slice(-out.logits.dims.at(-1));
    return scores.reduce((best, score, id) => (score > scores[best] ? id : best), 0);
  };

  forget();
  for (const ids of [promptIds, [1], [1]]) await step(ids); // to warm up
  forget();
  const begun = performance.now();
  await step(promptIds);
  const prefill = (cached / (performance.now() - begun)) * 1000;
  const prompt_tokens = cached;
  forget();
  const answer = [await step(questionIds)];
  const cached_tokens = cached;
  const times = [performance.now()];
  for (let i = 0; i < task.answer_tokens; i++) {
    answer.push(await step([answer.at(-1)]));
    times.push(performance.now());
  }
  return { prompt_tokens, prefill, cached_tokens, times, answer };
}

const folder = process.argv[2];
const read = (name) => JSON.parse(readFileSync(path.join(folder, name), "utf8"));
const tokenizer = new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
await round({
  peer: "onnxruntime-web",
  routes: {
    ...(await folderRoutes("/ort/", path.join(packageFolder("onnxruntime-web"), "dist"))),
    "/model.onnx": fileRoute(path.join(folder, "onnx/model_q4.onnx")),
  },
  measure,
  argument: {
    task: TASK,
    promptIds: PROMPT_IDS,
    questionIds: tokenizer.encode(QUESTION, { add_special_tokens: false }).ids,
    config: read("config.json"),
  },
  usedGpu: ({ dispatches }) => dispatches > TASK.answer_tokens * read("config.json").num_hidden_layers,
  decode: (ids) => tokenizer.decode(ids, { skip_special_tokens: true }),
});
