/** The engine in this thread: the wasm module, a model on the GPU, and what becomes of both when the GPU is lost. */
import initWasm, { Control, type InitOutput, Model } from "../pkg/aloud_web.js";
import type { Backend } from "./engine.ts";
import { AloudError, throwIfAborted, toAloudError } from "./errors.ts";
import { type GpuInfo, opening, openGpu } from "./gpu.ts";
import type { EngineRequest } from "./request.ts";
import { clearPhase, markPhase, type OpenedModel, openModel, resolveSource } from "./store/index.ts";
import type { ChatEvent, FinishReason, LoadOptions, ModelInfo, Progress, Timings, TokenLogprob, Usage } from "./types.ts";

/** What a core is made of; the same in a worker. */
export type CoreOptions = Pick<LoadOptions, "model" | "contextLength" | "storage" | "drafts" | "gpuTimeout"> & {
  wasmUrl: string;
  /** What relative URLs are relative to: in a worker that would be the worker. */
  base: string;
};

/** How often a device that is lost in the midst of one answer is replaced. */
const MOST_LOSSES = 3;

/** Milliseconds without a sign of life after which a GPU counts as hung: of an answer, and of what was aborted. */
const GPU_TIMEOUT = 120_000;
const ABORT_TIMEOUT = 5_000;

let module: Promise<InitOutput> | undefined;

/** Loads the wasm module, once. */
export function wasm(url: string): Promise<InitOutput> {
  module ??= initWasm({ module_or_path: url }).catch((error: unknown) => {
    module = undefined;
    throw new AloudError("network", `${url}: the engine's wasm module did not load: ${String(error)}`, { cause: error });
  });
  return module;
}

/** Loads a model into this thread's engine. */
export async function loadCore(
  options: CoreOptions,
  onProgress: (progress: Progress) => void,
  signal?: AbortSignal,
): Promise<Backend> {
  const core = new Core(options);
  try {
    await core.load(onProgress, signal);
  } catch (error) {
    await core.dispose();
    throw error;
  }
  return core;
}

class Core implements Backend {
  info!: ModelInfo;
  #model: Model | undefined;
  #control: Control | undefined;
  #device: GPUDevice | undefined;
  #disposed = false;
  #running: Promise<void> = Promise.resolve();

  constructor(private readonly options: CoreOptions) {}

  async load(onProgress: (progress: Progress) => void, signal?: AbortSignal): Promise<void> {
    onProgress({ phase: "connect", loaded: 0, total: 0, bytesPerSecond: 0 });
    const gpu = await openGpu();
    const { memory } = await wasm(this.options.wasmUrl);
    throwIfAborted(signal);
    const { storage = "auto", model, base } = this.options;
    // Should the tab be killed on the way, the next visit can say in which phase.
    const { source } = resolveSource(model, { base });
    let phase = "";
    const tell = (progress: Progress): void => {
      if (progress.phase !== phase) void markPhase(source, (phase = progress.phase)).catch(() => {});
      onProgress(progress);
    };
    try {
      const opened = await openModel(model, { signal, storage, base, onProgress: tell });
      try {
        this.#model = await opening((newest) => this.#upload(opened, gpu, newest, tell, signal));
        await opened.complete();
      } finally {
        await opened.close();
      }
    } finally {
      await clearPhase().catch(() => {});
    }
    const wasmBytes = memory.buffer.byteLength;
    this.info = { ...(JSON.parse(this.#model.info()) as ModelInfo), adapter: gpu.name, wasmBytes };
    onProgress({ phase: "ready", loaded: 0, total: 0, bytesPerSecond: 0 });
  }

  /** Sends the weights to the GPU as they come. */
  async #upload(
    opened: OpenedModel,
    gpu: GpuInfo,
    newest: () => GPUDevice | undefined,
    onProgress: (progress: Progress) => void,
    signal?: AbortSignal,
  ): Promise<Model> {
    let failed: unknown;
    // The first thing that a source throws; what Rust makes of it has lost its code.
    const files = opened.files.map((file) => ({
      name: file.name,
      size: file.size,
      read: async (offset: number, length: number): Promise<Uint8Array> => {
        try {
          throwIfAborted(signal);
          return await file.read(offset, length);
        } catch (error) {
          failed ??= error;
          throw error;
        }
      },
    }));
    const { contextLength, drafts: wanted = "auto" } = this.options;
    // A second row costs a CPU as much as the first.
    const drafts = wanted === "auto" && gpu.isCpu ? "off" : wanted;
    const options = JSON.stringify({ contextLength, drafts, subgroupSize: gpu.subgroupSize });
    let last = 0;
    const uploaded = (loaded: number, total: number): void => {
      const now = performance.now();
      if (loaded < total && now - last < 100) return;
      last = now;
      onProgress({ phase: loaded < total ? "upload" : "compile", loaded, total, bytesPerSecond: 0 });
    };
    try {
      const { kind, name, small } = opened;
      return await this.#watched(Model.load({ kind, name, files, small }, options, uploaded), newest, signal);
    } catch (error) {
      throwIfAborted(signal);
      throw toAloudError(failed ?? error);
    } finally {
      this.#device = newest();
    }
  }

  /**
   * Waits for work of the GPU. That of a hung GPU never ends: then the device is destroyed, and what waits for it fails. Hung is
   * what is not over some seconds after it was aborted, or of which `isHung` says so.
   */
  async #watched<T>(
    work: Promise<T>,
    device: () => GPUDevice | undefined,
    signal?: AbortSignal,
    isHung: () => boolean = () => false,
  ): Promise<T> {
    let aborted = 0;
    const watch = setInterval(() => {
      if (signal?.aborted || this.#disposed) aborted ||= performance.now();
      if ((aborted && performance.now() - aborted > ABORT_TIMEOUT) || isHung()) device()?.destroy();
    }, 500);
    try {
      return await work;
    } finally {
      clearInterval(watch);
    }
  }

  run(request: EngineRequest, onEvent: (event: ChatEvent) => void, signal: AbortSignal): Promise<void> {
    const run = this.#run(request, onEvent, signal);
    this.#running = run.catch(() => {});
    return run;
  }

  /** Answers; when the GPU is lost, takes a new device, loads again, and goes on behind the tokens that were drawn. */
  async #run(request: EngineRequest, onEvent: (event: ChatEvent) => void, signal: AbortSignal): Promise<void> {
    const drawn: number[] = [];
    for (let losses = 0; ; losses++) {
      try {
        // An earlier answer may have lost the device when nobody waited for it any more.
        if (!this.#model && !this.#disposed) await this.load(() => {}, signal);
        return await this.#answer({ ...request, drawn }, drawn, onEvent, signal);
      } catch (thrown) {
        const error = toAloudError(thrown);
        if (error.code !== "device-lost") throw error;
        this.#free();
        throwIfAborted(signal);
        if (losses === MOST_LOSSES || this.#disposed) throw error;
        onEvent({ type: "device-lost", reason: error.message });
        await this.load(() => {}, signal);
        onEvent({ type: "device-restored" });
      }
    }
  }

  async #answer(
    request: EngineRequest,
    drawn: number[],
    onEvent: (event: ChatEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    throwIfAborted(signal);
    if (!this.#model) throw new AloudError("disposed", "the engine was disposed of; load the model again");
    const control = new Control();
    this.#control = control;
    const { gpuTimeout = GPU_TIMEOUT } = this.options;
    let alive = performance.now();
    try {
      const answer = this.#model.answer(JSON.stringify(request), control, (kind: string, value: never, total: number) => {
        alive = performance.now();
        if (signal.aborted || this.#disposed) return false;
        if (kind === "token") drawn.push(value);
        else if (kind === "prefill") onEvent({ type: "prefill", done: value, total });
        else if (kind === "logprob") onEvent(logprobEvent(value));
        else onEvent({ type: kind as "reasoning" | "answer", text: value });
        return true;
      });
      const isHung = (): boolean => performance.now() - alive > gpuTimeout;
      const ending = await this.#watched(answer, () => this.#device, signal, isHung);
      throwIfAborted(signal);
      onEvent(doneEvent(JSON.parse(ending) as Ending));
    } finally {
      this.#control = undefined;
      control.free();
    }
  }

  answerNow(): void {
    this.#control?.answerNow();
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    // An answer that is under way ends at its next token.
    await this.#running;
    this.#free();
  }

  #free(): void {
    this.#model?.free();
    this.#model = undefined;
  }
}

/** `Ending` in crates/aloud/src/chat.rs. */
interface Ending {
  finish_reason: FinishReason | "cancelled";
  usage: { prompt_tokens: number; completion_tokens: number; reasoning_tokens: number; cached_tokens: number; total_tokens: number };
  timings: Timings;
}

/** `Told` in crates/aloud-web/src/answer.rs. */
function logprobEvent(json: string): ChatEvent {
  const { part, ...token } = JSON.parse(json) as { part: "reasoning" | "answer" } & TokenLogprob;
  return { type: "logprobs", part, content: [token] };
}

function doneEvent({ finish_reason, usage, timings }: Ending): ChatEvent {
  if (finish_reason === "cancelled") throw new AloudError("disposed", "the engine was disposed of in mid-answer");
  const { reasoning_tokens, cached_tokens, ...counts } = usage;
  const told: Usage = {
    ...counts,
    prompt_tokens_details: { cached_tokens },
    completion_tokens_details: { reasoning_tokens },
  };
  return { type: "done", finish_reason, usage: told, timings };
}
