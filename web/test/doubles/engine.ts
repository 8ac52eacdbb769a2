/** An engine whose answers the test writes, event by event. */
import { AloudError, type ErrorCode } from "../../src/errors.ts";
import type { ChatEvent, ChatMessage, ChatOptions, Engine, ModelInfo } from "../../src/types.ts";

type Item = ChatEvent | { type: "throw"; error: Error } | { type: "end" };

const MODEL: ModelInfo = {
  name: "tiny-r1",
  architecture: "DeepseekV3ForCausalLM",
  parameters: 7_300_000,
  quantization: "FP8",
  contextLength: 1024,
  gpuBytes: 9_400_000,
  wasmBytes: 12_000_000,
  adapter: "Scripted GPU",
  tuning: "",
};

export class ScriptedEngine implements Engine {
  readonly model = MODEL;
  /** What was asked. */
  readonly calls: { messages: ChatMessage[]; options: ChatOptions }[] = [];
  answersNow = 0;
  disposed = false;

  #queue: Item[] = [];
  #wake: (() => void) | null = null;

  readonly chat = Object.assign((messages: ChatMessage[], options: ChatOptions = {}) => this.#run(messages, options), {
    completions: { create: () => Promise.reject(new Error("not part of these tests")) },
  }) as Engine["chat"];

  async *#run(messages: ChatMessage[], { signal, ...options }: ChatOptions): AsyncGenerator<ChatEvent> {
    this.calls.push({ messages, options });
    this.#queue = [];
    signal?.addEventListener("abort", () => this.#wake?.());
    for (;;) {
      if (signal?.aborted) throw new AloudError("aborted", "aborted by the caller");
      const item = this.#queue.shift();
      if (!item) await new Promise<void>((resolve) => (this.#wake = resolve));
      else if (item.type === "throw") throw item.error;
      else if (item.type === "end") return;
      else yield item;
      if (item?.type === "done") return;
    }
  }

  push(...items: Item[]): void {
    this.#queue.push(...items);
    this.#wake?.();
  }

  /** Thinks `text`, a word an event. */
  think(text: string): void {
    this.push(...words(text).map((word) => ({ type: "reasoning", text: word }) as const));
  }

  say(text: string): void {
    this.push(...words(text).map((word) => ({ type: "answer", text: word }) as const));
  }

  /** Ends the answer, of so many tokens. */
  done(thought = 120, answer = 40, finish: "stop" | "length" = "stop"): void {
    const usage = {
      prompt_tokens: 20,
      completion_tokens: thought + answer,
      total_tokens: 20 + thought + answer,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: thought },
    };
    const timings = {
      time_to_first_token_ms: 420,
      decode_ms: 7500,
      prefill_tokens_per_second: 210,
      decode_tokens_per_second: 21.34,
    };
    this.push({ type: "done", finish_reason: finish, usage, timings });
  }

  fail(code: ErrorCode, message: string): void {
    this.push({ type: "throw", error: new AloudError(code, message) });
  }

  answerNow(): void {
    this.answersNow += 1;
  }

  async dispose(): Promise<void> {
    this.disposed = true;
  }
}

const words = (text: string): string[] => text.match(/\s*\S+\s*$|\s*\S+/g) ?? [];
