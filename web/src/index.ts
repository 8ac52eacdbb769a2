/** DeepSeek-R1 models that think aloud in a browser tab. Nothing leaves the device. */
import { loadCore } from "./core.ts";
import { createEngine } from "./engine.ts";
import { AloudError, toAloudError } from "./errors.ts";
import { type Probe, probe as look } from "./probe.ts";
import { loadRemote } from "./remote.ts";
import { askPersistence } from "./store/index.ts";
import type { Engine, LoadOptions, ModelSource } from "./types.ts";

export { AloudError, type ErrorCode } from "./errors.ts";
export { deleteModel, listModels, storageEstimate } from "./store/index.ts";
export type { DeviceSpeed, ModelForecast, Probe } from "./probe.ts";
export type * from "./types.ts";

const KNOWN: Record<keyof LoadOptions, true> = {
  model: true,
  contextLength: true,
  signal: true,
  onProgress: true,
  storage: true,
  drafts: true,
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
  const { model, contextLength, storage, drafts, gpuTimeout, signal } = options;
  const onProgress = options.onProgress ?? ((): void => {});
  const base = document.baseURI;
  const wasmUrl = wasmUrlOf(options.wasmUrl);
  const core = { model: plain(model), base, contextLength, storage, drafts, gpuTimeout, wasmUrl };
  // A worker cannot ask. Whether it is granted changes nothing but how long the browser keeps the file.
  if (storage !== "none" && !(core.model instanceof Blob)) void askPersistence().catch(() => {});
  try {
    const backend =
      options.worker === false ?
        await loadCore(core, onProgress, signal)
      : await loadRemote(options.workerUrl ?? new URL(/* @vite-ignore */ "worker.js", import.meta.url), core, onProgress, signal);
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
  return new URL(given ?? new URL(/* @vite-ignore */ "aloud_web_bg.wasm", import.meta.url), document.baseURI).href;
}
