// The models in models/ for tests, and what transformers answers with them.
import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { byRanges } from "./server.mjs";

export const WEB = fileURLToPath(new URL("../", import.meta.url));
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A real model: of Hugging Face, in 4 bits. `cargo xtask assets` fetches it. */
export const SMOLLM2 = `${ROOT}assets/SmolLM2-135M-Instruct.Q4_1.gguf`;

/** The header of a published model, DeepSeek-R1-Distill-Qwen-7B, with its tokenizer of 152,064 tokens; without its weights. */
export const R1_HEADER = `${ROOT}assets/r1-distill-qwen-7b-header.gguf`;

/** A route for each file of models/. */
export async function modelRoutes() {
  const names = [...(await readdir(`${ROOT}models/tiny-r1`)).map((name) => `tiny-r1/${name}`), "tiny-r1-distill.gguf"];
  const route = async (name) => [`/models/${name}`, byRanges(await readFile(`${ROOT}models/${name}`))];
  return Object.fromEntries(await Promise.all(names.map(route)));
}

/** tiny-r1's tokenizer with NFC before all else. */
export async function composingTokenizer() {
  const tokenizer = JSON.parse(await readFile(`${ROOT}models/tiny-r1/tokenizer.json`, "utf8"));
  return Buffer.from(JSON.stringify({ ...tokenizer, normalizer: { type: "NFC" } }));
}

/** Questions with what transformers writes greedily. */
export async function goldens(name) {
  const text = await readFile(`${ROOT}tests/goldens/${name}.jsonl`, "utf8");
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}
