/** What this page takes from the package, with the files of it that this page serves. */
import wasmUrl from "../pkg/aloud_web_bg.wasm?url";
import { deleteModel, lastCrash, listModels, load as loadEngine, probe as look, storageEstimate } from "../src/index.ts";
import type { Engine, LoadOptions, ModelSource } from "../src/types.ts";
import workerUrl from "../src/worker.ts?worker&url";

export { deleteModel, lastCrash, listModels, storageEstimate };

export type StoredModel = Awaited<ReturnType<typeof listModels>>[number];

/** What this device would make of a model. */
export interface Verdict {
  verdict: "ok" | "tight" | "no";
  reason: string;
  /** 0 where it would not run. */
  tokensPerSecond: number;
}

export function load(options: LoadOptions): Promise<Engine> {
  return loadEngine({ ...options, workerUrl, wasmUrl });
}

/** Reads the header of a model's file, and measures the GPU. */
export async function probe(model: ModelSource, signal: AbortSignal): Promise<Verdict> {
  const found = await look({ model, signal, wasmUrl });
  if (!found.model) return { verdict: "no", reason: found.reason ?? "", tokensPerSecond: 0 };
  return found.model;
}
