import { describe, expect, it } from "vitest";
import { type Backend, createEngine } from "../../src/engine.ts";
import { AloudError } from "../../src/errors.ts";
import type { ChatCompletionChunk, ChatEvent, ChatMessage, ModelInfo } from "../../src/types.ts";

const MESSAGES: ChatMessage[] = [{ role: "user", content: "?" }];
const DONE: ChatEvent = {
  type: "done",
  finish_reason: "stop",
  usage: {
    prompt_tokens: 3,
    completion_tokens: 4,
    total_tokens: 7,
    prompt_tokens_details: { cached_tokens: 1 },
    completion_tokens_details: { reasoning_tokens: 2 },
  },
  timings: { time_to_first_token_ms: 1, decode_ms: 1, prefill_tokens_per_second: 1, decode_tokens_per_second: 1 },
};
const EVENTS: ChatEvent[] = [
  { type: "prefill", done: 3, total: 3 },
  { type: "reasoning", text: "so " },
  { type: "reasoning", text: "so" },
  { type: "answer", text: "yes" },
  DONE,
];

/** A backend that says what it is told to, one event a turn of the loop. */
function backend(events: ChatEvent[], failure?: Error): Backend & { signals: AbortSignal[]; disposed: number } {
  return {
    info: { name: "m" } as ModelInfo,
    signals: [],
    disposed: 0,
    async run(_, onEvent, signal) {
      this.signals.push(signal);
      for (const event of events) {
        await new Promise((resolve) => setTimeout(resolve));
        if (signal.aborted) throw new AloudError("aborted", "aborted by the caller");
        onEvent(event);
      }
      if (failure) throw failure;
    },
    answerNow() {},
    async dispose() {
      this.disposed++;
    },
  };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("an engine", () => {
  it("hands on events, without the thought if that is hidden", async () => {
    const engine = createEngine(backend(EVENTS));
    expect(await collect(engine.chat(MESSAGES))).toEqual(EVENTS);
    const hidden = await collect(engine.chat(MESSAGES, { reasoning: { hide: true } }));
    expect(hidden.map((e) => e.type)).toEqual(["prefill", "answer", "done"]);
  });

  it("makes whole completions and chunks of them", async () => {
    const engine = createEngine(backend(EVENTS));
    const whole = await engine.chat.completions.create({ messages: MESSAGES });
    expect(whole.choices[0].message).toEqual({ role: "assistant", content: "yes", reasoning_content: "so so" });
    const chunks: ChatCompletionChunk[] = await collect(
      await engine.chat.completions.create({ messages: MESSAGES, stream: true }),
    );
    expect(chunks.map((c) => c.choices[0]?.delta)).toEqual([
      { role: "assistant", content: "" },
      { reasoning_content: "so " },
      { reasoning_content: "so" },
      { content: "yes" },
      {},
    ]);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
  });

  it("answers one at a time, and again after an end, a failure and a reader that left", async () => {
    const failing = backend(EVENTS.slice(0, 2), new AloudError("device-lost", "gone"));
    const engine = createEngine(failing);
    const first = engine.chat(MESSAGES);
    expect(() => engine.chat(MESSAGES)).toThrow(/under way/);
    await expect(collect(first)).rejects.toMatchObject({ code: "device-lost" });
    for await (const _ of engine.chat(MESSAGES)) break;
    expect(failing.signals[1]?.aborted).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await expect(collect(engine.chat(MESSAGES))).rejects.toMatchObject({ code: "device-lost" });
  });

  it("turns what is no error of ours into one", async () => {
    const engine = createEngine(backend([], new TypeError("x is undefined")));
    await expect(collect(engine.chat(MESSAGES))).rejects.toMatchObject({ code: "internal", message: "x is undefined" });
  });

  it("is disposed of once, and says so later", async () => {
    const held = backend(EVENTS);
    const engine = createEngine(held);
    await engine.dispose();
    await engine.dispose();
    expect(held.disposed).toBe(1);
    expect(() => engine.chat(MESSAGES)).toThrow(expect.objectContaining({ code: "disposed" }));
  });
});
