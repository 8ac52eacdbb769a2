/** The engine in this thread: the wasm module, a model on the GPU, and what becomes of both when the GPU is lost. */
import initWasm, { Control, type InitOutput, Model, type ModelFiles } from "../pkg/aloud_web.js";
import type { Backend } from "./engine.ts";
import { AloudError, throwIfAborted, toAloudError } from "./errors.ts";
import { type GpuInfo, opening, openGpu } from "./gpu.ts";
import { inOrder } from "./phases.ts";
import type { EngineRequest } from "./request.ts";
import {
  clearPhase,
  deleteModel,
  keepTuning,
  markPhase,
  type OpenedModel,
  openModel,
  readTunings,
  resolveSource,
} from "./store/index.ts";
import type { ChatEvent, FinishReason, LoadOptions, ModelInfo, Phase, Progress, Timings, TokenLogprob, Usage } from "./types.ts";

/** What a core is made of; the same in a worker. */
export type CoreOptions = Pick<
  LoadOptions,
  "model" | "contextLength" | "storage" | "hashes" | "drafts" | "tune" | "gpuTimeout"
> & {
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
  /** What is known of the GPU's kernels, and whether the rest is measured. */
  #tuning: { tune: boolean; tunings: Record<string, string> } | undefined;
  #running: Promise<void> = Promise.resolve();

  readonly #source: string;

  constructor(private readonly options: CoreOptions) {
    this.#source = resolveSource(options.model, { base: options.base }).source;
  }

  async load(onProgress: (progress: Progress) => void, signal?: AbortSignal): Promise<void> {
    const tell = inOrder(onProgress, (phase) => phase !== "ready" && this.#mark(phase));
    try {
      this.info = await this.#load(tell, signal);
    } catch (error) {
      // What is no model is not kept, unless another tab has it open.
      const isNone = this.#source && toAloudError(error).code === "not-a-model";
      if (isNone) await deleteModel(this.#source).catch(() => {});
      throw error;
    } finally {
      await clearPhase().catch(() => {});
    }
    tell({ phase: "ready", loaded: 0, total: 0, bytesPerSecond: 0 });
  }

  /** Should the tab be killed on the way, the next visit can say in which phase. */
  #mark(phase: Exclude<Phase, "ready"> | "answer"): void {
    void markPhase(this.#source, phase).catch(() => {});
  }

  async #load(tell: (progress: Progress) => void, signal?: AbortSignal): Promise<ModelInfo> {
    tell({ phase: "connect", loaded: 0, total: 0, bytesPerSecond: 0 });
    const gpu = await openGpu();
    const { memory } = await wasm(this.options.wasmUrl);
    throwIfAborted(signal);
    const { storage = "auto", model, base, hashes } = this.options;
    this.#tuning ??= await this.#known(gpu);
    const opened = await openModel(model, { signal, storage, base, hashes, onProgress: tell });
    try {
      this.#model = await opening((newest) => this.#upload(opened, gpu, newest, tell, signal));
      await opened.complete();
    } finally {
      await opened.close();
    }
    // Nothing of the above looks at it while kernels compile.
    throwIfAborted(signal);
    const { tuningKey: key, measured, ...info } = JSON.parse(this.#model.info()) as Info;
    const text = info.tuning;
    // Nobody has to know if it is not kept: it is measured again.
    if (measured && storage !== "none") await keepTuning({ device: gpu.id, key, text }).catch(() => {});
    // When the GPU is lost, the next one is to round as this one did.
    this.#tuning = { tune: false, tunings: { [key]: text } };
    return { ...info, adapter: gpu.name, wasmBytes: memory.buffer.byteLength };
  }

  /** What is known of the GPU's kernels before a model is loaded first. */
  async #known(gpu: GpuInfo): Promise<{ tune: boolean; tunings: Record<string, string> }> {
    const { tune: wanted = "auto", storage } = this.options;
    if (!["auto", "off", "on"].includes(wanted)) {
      throw new AloudError("invalid-request", `\`tune\`: expected auto, off or on, found \`${wanted}\``);
    }
    // A CPU has the vectors that it has, and takes long to compile what would be measured.
    const tune = wanted === "on" || (wanted === "auto" && !gpu.isCpu);
    return { tune, tunings: tune && storage !== "none" ? await readTunings(gpu.id).catch(() => ({})) : {} };
  }

  /** Sends the weights to the GPU as they come. */
  async #upload(
    opened: OpenedModel,
    gpu: GpuInfo,
    newest: () => GPUDevice | undefined,
    onProgress: (progress: Progress) => void,
    signal?: AbortSignal,
  ): Promise<Model> {
    const { contextLength, drafts: wanted = "auto" } = this.options;
    // A second row costs a CPU as much as the first.
    const drafts = wanted === "auto" && gpu.isCpu ? "off" : wanted;
    const options = JSON.stringify({ contextLength, drafts, subgroupSize: gpu.subgroupSize, ...this.#tuning });
    let last = 0;
    const uploaded = (loaded: number, total: number): void => {
      const now = performance.now();
      if (loaded < total && now - last < 100) return;
      last = now;
      onProgress({ phase: loaded < total ? "upload" : "compile", loaded, total, bytesPerSecond: 0 });
    };
    try {
      const loading = readBy(opened, signal, (files) => Model.load(files, options, uploaded));
      return await this.#watched(loading, newest, signal);
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
    this.#running = run.then(clearPhase, clearPhase).catch(() => {});
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
    this.#mark("answer");
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

/** Has Rust read a model's files. What they throw is thrown as it was: what Rust makes of it has lost its code. */
export async function readBy<T>(
  { kind, name, small, files }: OpenedModel,
  signal: AbortSignal | undefined,
  read: (files: ModelFiles) => Promise<T>,
): Promise<T> {
  let failed: unknown;
  const watched = files.map((file) => ({
    name: file.name,
    size: file.size,
    read: (offset: number, length: number): Promise<Uint8Array> =>
      file.read(offset, length).catch((error: unknown) => {
        failed ??= error;
        throw error;
      }),
  }));
  try {
    return await read({ kind, name, small, files: watched });
  } catch (error) {
    throwIfAborted(signal);
    throw toAloudError(failed ?? error);
  }
}

/** `Info` in crates/aloud-web/src/model.rs. */
interface Info extends ModelInfo {
  tuningKey: string;
  measured: boolean;
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
