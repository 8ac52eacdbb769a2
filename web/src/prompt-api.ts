/**
 * An object in the shape of Chrome's Prompt API: `languageModel({ model })` stands where `LanguageModel` would.
 * Thoughts are not part of what it says, since that API has none; `reasoning` sets how long they may be.
 *
 * Source of the interface: https://github.com/webmachinelearning/prompt-api (2026-06).
 */
import { here } from "./base.ts";
import { AloudError, toAloudError } from "./errors.ts";
import { load } from "./index.ts";
import { listModels, resolveSource } from "./store/index.ts";
import { readable } from "./stream.ts";
import type { ChatMessage, ChatOptions, Engine, LoadOptions, Progress, ReasoningOptions } from "./types.ts";

export type Availability = "unavailable" | "downloadable" | "downloading" | "available";
export type Prompt = string | { role: ChatMessage["role"]; content: string }[];

export interface CreateOptions {
  initialPrompts?: { role: ChatMessage["role"]; content: string }[];
  /** Ends the waiting of this call alone; later, the session. */
  signal?: AbortSignal;
  /** Hears of `downloadprogress`, whose `loaded` goes from 0 to 1. */
  monitor?: (monitor: EventTarget) => void;
}

export interface PromptOptions {
  signal?: AbortSignal;
}

/** How the model behind it is loaded and asked. */
export type ModelOptions = Omit<LoadOptions, "signal" | "onProgress"> & { reasoning?: ReasoningOptions };

/** `LanguageModel` of a model of ours. Sessions share one engine; it is loaded by the first. */
export function languageModel(options: ModelOptions) {
  const { reasoning, ...loading } = options;
  let shared: Shared | undefined;

  function begin(): Shared {
    const abort = new AbortController();
    const listeners = new Set<(loaded: number) => void>();
    const onProgress = ({ phase, loaded, total }: Progress): void => {
      if (phase === "download" && total > 0) for (const tell of listeners) tell(loaded / total);
    };
    const engine = load({ ...loading, signal: abort.signal, onProgress });
    const begun: Shared = { engine, abort, listeners, isLoading: true };
    const end = (): unknown => (begun.isLoading = false);
    engine.then(end, () => {
      end();
      if (shared === begun) shared = undefined;
    });
    return begun;
  }

  return {
    /** Whether `create` would work, and whether it would download. */
    async availability(): Promise<Availability> {
      if (!globalThis.isSecureContext || !navigator.gpu || !(await navigator.gpu.requestAdapter())) return "unavailable";
      if (shared) return shared.isLoading ? "downloading" : "available";
      const stored = await listModels();
      const { source } = resolveSource(loading.model, { base: here() });
      return stored.some((model) => model.complete && model.source === source) ? "available" : "downloadable";
    },

    async create(options: CreateOptions = {}): Promise<Session> {
      refuseOthers(options, CREATE_OPTIONS);
      const { initialPrompts = [], signal, monitor } = options;
      const target = new EventTarget();
      monitor?.(target);
      const tell = (loaded: number): void => {
        target.dispatchEvent(new ProgressEvent("downloadprogress", { lengthComputable: true, loaded, total: 1 }));
      };
      tell(0);
      const mine = (shared ??= begin());
      mine.listeners.add(tell);
      try {
        const engine = await orAborted(mine.engine, signal);
        tell(1);
        const session = new Session(engine, [...initialPrompts], { reasoning });
        signal?.addEventListener("abort", () => session.destroy());
        return session;
      } catch (error) {
        throw domError(error);
      } finally {
        mine.listeners.delete(tell);
        if (mine.isLoading && mine.listeners.size === 0) {
          mine.abort.abort(); // Nobody waits for it any more.
          if (shared === mine) shared = undefined;
        }
      }
    },
  };
}

/** The engine of all sessions, or its loading. */
interface Shared {
  engine: Promise<Engine>;
  abort: AbortController;
  /** Of those who wait for it. */
  listeners: Set<(loaded: number) => void>;
  isLoading: boolean;
}

const CREATE_OPTIONS: Record<keyof CreateOptions, true> = { initialPrompts: true, signal: true, monitor: true };
const PROMPT_OPTIONS: Record<keyof PromptOptions, true> = { signal: true };

function refuseOthers(options: object, known: object): void {
  const other = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (other === undefined) return;
  const names = Object.keys(known).join(", ");
  throw new DOMException(`\`${other}\` is not an option here; there are ${names}`, "NotSupportedError");
}

/** What a work gives, unless the caller ends waiting for it. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  const aborted = new Promise<never>((_, reject) => {
    const end = (): void => reject(new AloudError("aborted", "aborted by the caller", { cause: signal.reason }));
    if (signal.aborted) end();
    signal.addEventListener("abort", end);
  });
  return Promise.race([work, aborted]);
}

/** A conversation. */
export class Session extends EventTarget {
  #history: ChatMessage[];
  #used = 0;
  #ended = false;
  #destroyed = new AbortController();

  constructor(
    private readonly engine: Engine,
    history: ChatMessage[],
    private readonly options: ChatOptions,
  ) {
    super();
    this.#history = history;
  }

  /** Tokens of the conversation so far. */
  get contextUsage(): number {
    return this.#used;
  }

  /** Tokens that fit. */
  get contextWindow(): number {
    return this.engine.model.contextLength;
  }

  async prompt(input: Prompt, options: PromptOptions = {}): Promise<string> {
    let all = "";
    for await (const text of this.#answer(input, options)) all += text;
    return all;
  }

  promptStreaming(input: Prompt, options: PromptOptions = {}): ReadableStream<string> {
    return readable(this.#answer(input, options));
  }

  /** Adds to the conversation without an answer. */
  async append(input: Prompt): Promise<void> {
    this.#check();
    this.#history.push(...turns(input));
  }

  /** A session that goes on from here by itself. */
  async clone(): Promise<Session> {
    this.#check();
    return new Session(this.engine, [...this.#history], this.options);
  }

  /** Ends the session and what it is answering; the engine stays for others. */
  destroy(): void {
    this.#ended = true;
    this.#destroyed.abort();
  }

  async *#answer(input: Prompt, options: PromptOptions): AsyncGenerator<string> {
    this.#check();
    refuseOthers(options, PROMPT_OPTIONS);
    const { signal } = options;
    const messages = [...this.#history, ...turns(input)];
    const signals = signal ? [signal, this.#destroyed.signal] : [this.#destroyed.signal];
    let content = "";
    try {
      for await (const event of this.engine.chat(messages, { ...this.options, signal: AbortSignal.any(signals) })) {
        if (event.type === "answer") {
          content += event.text;
          yield event.text;
        } else if (event.type === "done") {
          this.#used = event.usage.total_tokens - event.usage.completion_tokens_details.reasoning_tokens;
        }
      }
    } catch (error) {
      throw domError(error);
    }
    this.#history = [...messages, { role: "assistant", content }];
  }

  #check(): void {
    if (this.#ended) throw new DOMException("the session was destroyed", "InvalidStateError");
  }
}

function turns(input: Prompt): ChatMessage[] {
  return typeof input === "string" ? [{ role: "user", content: input }] : input;
}

/** Errors as that API names them. */
function domError(thrown: unknown): DOMException {
  const { code, message } = toAloudError(thrown);
  const names: Partial<Record<AloudError["code"], string>> = {
    aborted: "AbortError",
    quota: "QuotaExceededError",
    "context-length": "QuotaExceededError",
    "webgpu-missing": "NotSupportedError",
    "no-adapter": "NotSupportedError",
    network: "NetworkError",
    disposed: "InvalidStateError",
    busy: "InvalidStateError",
  };
  return new DOMException(message, names[code] ?? "OperationError");
}
