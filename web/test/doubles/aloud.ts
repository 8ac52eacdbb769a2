/** `page/aloud.ts`: what the demo page takes from the package, written by the test: `globalThis.script` decides. */
import { AloudError } from "../../src/errors.ts";
import type { LoadOptions } from "../../src/types.ts";
import { ScriptedEngine } from "./engine.ts";

const script = {
  /** Engines that were loaded, with what they were asked for. */
  loads: [] as { options: LoadOptions; engine: ScriptedEngine; finish: () => void; fail: (message: string) => void }[],
  /** Loading ends at once; otherwise when the test calls `finish`. */
  instant: true,
  stored: [
    {
      source: "hf:bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF/DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf",
      bytes: 1.117e9,
      totalBytes: 1.117e9,
      complete: true,
      lastUsed: new Date(),
    },
    {
      source: "https://models.example/r1/big.gguf",
      bytes: 9e8,
      totalBytes: 4.68e9,
      complete: false,
      lastUsed: new Date(),
    },
  ],
};
Object.assign(globalThis, { script, AloudError });

export function load(options: LoadOptions): Promise<ScriptedEngine> {
  return new Promise((resolve, reject) => {
    const engine = new ScriptedEngine();
    const finish = () => resolve(engine);
    const fail = (message: string) => reject(new AloudError("network", message));
    script.loads.push({ options, engine, finish, fail });
    if (script.instant) finish();
  });
}

export async function probe(model: unknown) {
  if (String(model).includes("Llama")) throw new AloudError("network", "huggingface.co was not reached");
  if (String(model).includes("14B")) return { verdict: "no", reason: "it needs 8.6 GiB", tokensPerSecond: 0 } as const;
  if (String(model).includes("7B")) return { verdict: "tight", reason: "close other tabs", tokensPerSecond: 4 } as const;
  return { verdict: "ok", reason: "", tokensPerSecond: 24.2 } as const;
}

export const lastCrash = async () => null;
export const listModels = async () => script.stored;
export async function deleteModel(source: string): Promise<void> {
  script.stored = script.stored.filter((model) => model.source !== source);
}
export const storageEstimate = async () => ({ usage: 2.02e9, quota: 120e9, persisted: true });
