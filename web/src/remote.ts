/** The page's side of the worker: the same backend, by messages. */
import { here } from "./base.ts";
import type { CoreOptions } from "./core.ts";
import type { Backend } from "./engine.ts";
import { AloudError, throwIfAborted } from "./errors.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";
import type { EngineRequest } from "./request.ts";
import type { ChatEvent, ModelInfo, Progress } from "./types.ts";

type Said<T extends FromWorker["type"]> = Extract<FromWorker, { type: T }>;

interface Call {
  resolve: (result: Said<"result">) => void;
  reject: (error: AloudError) => void;
  onProgress?: (progress: Progress) => void;
  onEvent?: (event: ChatEvent) => void;
}

/** Starts a worker and has it load a model. */
export async function loadRemote(
  workerUrl: string | URL,
  options: CoreOptions,
  onProgress: (progress: Progress) => void,
  signal?: AbortSignal,
): Promise<Backend> {
  throwIfAborted(signal);
  const remote = new Remote(workerUrl);
  try {
    await remote.load(options, onProgress, signal);
  } catch (error) {
    remote.end();
    throw error;
  }
  return remote;
}

class Remote implements Backend {
  info!: ModelInfo;
  readonly #worker: Worker;
  readonly #calls = new Map<number, Call>();
  #lastId = 0;
  #dead: AloudError | undefined;

  constructor(private readonly url: string | URL) {
    this.#worker = startWorker(new URL(url, here()));
    this.#worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => this.#hear(data));
    this.#worker.addEventListener("error", (event) => this.#die(event.message));
  }

  async load(options: CoreOptions, onProgress: (progress: Progress) => void, signal?: AbortSignal): Promise<void> {
    const { info } = await this.#call((id) => ({ type: "load", id, options }), { onProgress }, signal);
    this.info = info!;
  }

  async run(request: EngineRequest, onEvent: (event: ChatEvent) => void, signal: AbortSignal): Promise<void> {
    await this.#call((id) => ({ type: "run", id, request }), { onEvent }, signal);
  }

  answerNow(): void {
    this.#say({ type: "answer-now" });
  }

  async dispose(): Promise<void> {
    if (!this.#dead) await this.#call((id) => ({ type: "dispose", id }), {});
    this.end();
  }

  /** Ends the worker, and with it all that it holds. */
  end(): void {
    this.#worker.terminate();
    this.#failAll(new AloudError("disposed", "the engine was disposed of; load the model again"));
  }

  #say(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #call(
    message: (id: number) => ToWorker,
    listeners: Pick<Call, "onProgress" | "onEvent">,
    signal?: AbortSignal,
  ): Promise<Said<"result">> {
    const id = ++this.#lastId;
    const abort = (): void => this.#say({ type: "abort", id });
    const ended = new Promise<Said<"result">>((resolve, reject) => {
      if (this.#dead) return reject(this.#dead);
      this.#calls.set(id, { resolve, reject, ...listeners });
      this.#say(message(id));
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort);
    });
    return ended.finally(() => {
      this.#calls.delete(id);
      signal?.removeEventListener("abort", abort);
    });
  }

  #hear(said: FromWorker): void {
    const call = this.#calls.get(said.id);
    if (said.type === "progress") call?.onProgress?.(said.progress);
    else if (said.type === "event") call?.onEvent?.(said.event);
    else if (said.type === "result") call?.resolve(said);
    else call?.reject(new AloudError(said.code, said.message));
  }

  /** A worker that failed as a whole: it was not found, or ran out of memory. */
  #die(reason: string | undefined): void {
    const why = reason || `nothing was said; is ${String(this.url)} there, and does the page's CSP allow it as \`worker-src\`?`;
    this.#failAll(new AloudError("internal", `the engine's worker failed: ${why}`));
  }

  #failAll(error: AloudError): void {
    this.#dead ??= error;
    for (const call of this.#calls.values()) call.reject(error);
    this.#calls.clear();
  }
}

/** Browsers start workers of the page's own origin alone; from elsewhere, as a CDN, a stub of ours imports them. */
function startWorker(url: URL): Worker {
  const options = { type: "module", name: "aloud" } as const;
  if (url.origin === location.origin) return new Worker(url, options);
  const stub = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  try {
    return new Worker(stub, options);
  } finally {
    setTimeout(() => URL.revokeObjectURL(stub), 60_000);
  }
}
