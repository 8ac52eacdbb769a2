/** DeepSeek-R1 models that think aloud in a browser tab. Nothing leaves the device. */
import { here } from "./base.ts";
import { loadCore } from "./core.ts";
import { createEngine } from "./engine.ts";
import { AloudError, throwIfAborted, toAloudError } from "./errors.ts";
import { type Probe, probe as look } from "./probe.ts";
import { loadRemote } from "./remote.ts";
import { askPersistence } from "./store/index.ts";
import type { Engine, LoadOptions, ModelSource } from "./types.ts";

export { AloudError, type ErrorCode } from "./errors.ts";
export { type Crash, deleteModel, lastCrash, listModels, storageEstimate } from "./store/index.ts";
export type { ModelForecast } from "./forecast.ts";
export type { DeviceSpeed, Probe } from "./probe.ts";
export type * from "./types.ts";

const KNOWN: Record<keyof LoadOptions, true> = {
  model: true,
  contextLength: true,
  signal: true,
  onProgress: true,
  storage: true,
  hashes: true,
  drafts: true,
  tune: true,
  gpuTimeout: true,
  worker: true,
  workerUrl: true,
  wasmUrl: true,
};

/**
 * Loads a model, in a worker unless `worker` is false.
 *
 * @throws {AloudError} with a `code` that says what was wrong.
 */
export async function load(options: LoadOptions): Promise<Engine> {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(KNOWN, name)) {
      throw new AloudError("unknown-parameter", `\`${name}\` is not a parameter; there are ${Object.keys(KNOWN).join(", ")}`);
    }
  }
  const { model, contextLength, storage, hashes, drafts, tune, gpuTimeout, signal } = options;
  const onProgress = options.onProgress ?? ((): void => {});
  const base = here();
  const wasmUrl = wasmUrlOf(options.wasmUrl);
  const core = { model: plain(model), base, contextLength, storage, hashes, drafts, tune, gpuTimeout, wasmUrl };
  // A worker cannot ask. Whether it is granted changes nothing but how long the browser keeps the file.
  if (storage !== "none" && !(core.model instanceof Blob)) void askPersistence().catch(() => {});
  try {
    const backend =
      options.worker === false ?
        await loadCore(core, onProgress, signal)
      : await loadRemote(options.workerUrl ?? new URL(/* @vite-ignore */ "worker.js", import.meta.url), core, onProgress, signal);
    if (signal?.aborted) await backend.dispose();
    throwIfAborted(signal);
    return createEngine(backend);
  } catch (error) {
    throw toAloudError(error);
  }
}

/** `model` and what it would be loaded with; without one the GPU alone is looked at. */
export type ProbeOptions = Partial<Pick<LoadOptions, "model" | "contextLength" | "signal" | "wasmUrl">>;

/**
 * Whether anything can run here, how fast this GPU is, and what a model would need and be like: from its header alone, before
 * it is downloaded.
 */
export async function probe(options: ProbeOptions = {}): Promise<Probe> {
  const { model, contextLength, signal, wasmUrl } = options;
  try {
    return await look({ model, contextLength, signal, wasmUrl: wasmUrlOf(wasmUrl) });
  } catch (error) {
    throw toAloudError(error);
  }
}

/** A worker cannot be sent a `URL`. */
function plain(source: ModelSource): ModelSource {
  if (Array.isArray(source)) return source.map(plain) as ModelSource;
  return source instanceof URL ? source.href : source;
}

function wasmUrlOf(given: string | URL | undefined): string {
  return new URL(given ?? new URL(/* @vite-ignore */ "aloud_web_bg.wasm", import.meta.url), here()).href;
}
