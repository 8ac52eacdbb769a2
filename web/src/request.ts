/** Checks what a caller asks for, by name and kind, and turns it into what the engine takes. */
import { AloudError } from "./errors.ts";
import type { ChatMessage, ChatOptions, ReasoningOptions } from "./types.ts";

/** A request as the engine takes it: `Request` in crates/aloud-web/src/answer.rs. */
export interface EngineRequest
  extends Omit<ChatOptions, "seed" | "stop" | "logprobs" | "reasoning" | "signal"> {
  messages: ChatMessage[];
  seed: number;
  stop: string[];
  think_budget?: number;
  think?: boolean;
  /** What an earlier run of this request drew. */
  drawn?: number[];
}

/** Tokens of thought that an effort allows. */
export const EFFORTS = { low: 256, medium: 1024, high: 8192 } as const;

type Check = (value: unknown) => string | undefined;

const number =
  (expected: string, fine: (value: number) => boolean): Check =>
  (value) =>
    typeof value === "number" && Number.isFinite(value) && fine(value) ? undefined : expected;
const whole = (least: number, most: number): Check =>
  number(`a whole number from ${least} to ${most}`, (v) => Number.isInteger(v) && v >= least && v <= most);
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "true or false");
const TOKENS = whole(1, 2 ** 31 - 1);

const OPTIONS: Record<keyof ChatOptions, Check> = {
  max_tokens: TOKENS,
  temperature: number("0 or more", (v) => v >= 0),
  top_p: number("more than 0, at most 1", (v) => v > 0 && v <= 1),
  top_k: whole(0, 2 ** 31 - 1),
  min_p: number("0 to 1", (v) => v >= 0 && v <= 1),
  repetition_penalty: number("more than 0", (v) => v > 0),
  presence_penalty: number("a number", () => true),
  frequency_penalty: number("a number", () => true),
  seed: whole(0, 2 ** 32 - 1),
  stop: (value) => {
    const texts = typeof value === "string" ? [value] : value;
    const fine = Array.isArray(texts) && texts.length <= 4 && texts.every((t) => typeof t === "string" && t !== "");
    return fine ? undefined : "a text, or up to four";
  },
  logprobs: flag,
  top_logprobs: whole(0, 20),
  reasoning: (value) => (isObject(value) ? undefined : "an object"),
  signal: (value) => (value instanceof AbortSignal ? undefined : "an AbortSignal"),
};

const REASONING: Record<keyof ReasoningOptions, Check> = {
  budget_tokens: whole(0, 2 ** 31 - 1),
  effort: (value) => (["none", "low", "medium", "high"].includes(value as string) ? undefined : "none, low, medium or high"),
  hide: flag,
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function found(value: unknown): string {
  return typeof value === "object" && value !== null ? Object.prototype.toString.call(value) : JSON.stringify(value) ?? "undefined";
}

function invalid(name: string, expected: string, value: unknown): AloudError {
  return new AloudError("invalid-request", `\`${name}\`: expected ${expected}, found ${found(value)}`);
}

/** Refuses names that are not in `known` and values that its checks refuse. `undefined` is as if it were not there. */
function checkAll(given: object, known: Record<string, Check>, prefix: string): void {
  for (const [name, value] of Object.entries(given)) {
    const check = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!check) {
      const names = Object.keys(known).join(", ");
      throw new AloudError("unknown-parameter", `\`${prefix}${name}\` is not a parameter; there are ${names}`);
    }
    const expected = value === undefined ? undefined : check(value);
    if (expected) throw invalid(prefix + name, expected, value);
  }
}

function checkMessages(messages: unknown): asserts messages is ChatMessage[] {
  if (!Array.isArray(messages) || messages.length === 0) throw invalid("messages", "a list of messages", messages);
  messages.forEach((message: unknown, i) => {
    const at = `messages[${i}]`;
    if (!isObject(message)) throw invalid(at, "{ role, content }", message);
    for (const name of Object.keys(message)) {
      // What a completion gave may be handed back as it is: the template drops thoughts of earlier turns.
      if (!["role", "content", "reasoning_content"].includes(name)) {
        throw new AloudError("unknown-parameter", `\`${at}.${name}\` is not a parameter; there are role, content`);
      }
    }
    if (!["system", "user", "assistant"].includes(message["role"] as string)) {
      throw invalid(`${at}.role`, "system, user or assistant", message["role"]);
    }
    if (typeof message["content"] !== "string") throw invalid(`${at}.content`, "a text", message["content"]);
  });
}

/** What else OpenAI's shape has. */
export const COMPLETION_OPTIONS: Record<string, Check> = {
  messages: () => undefined,
  model: (value) => (typeof value === "string" ? undefined : "a text"),
  stream: flag,
  stream_options: (value) => {
    const fine = isObject(value) && Object.keys(value).every((k) => k === "include_usage") &&
      ["boolean", "undefined"].includes(typeof value["include_usage"]);
    return fine ? undefined : "{ include_usage: true or false }";
  },
  n: (value) => (value === 1 ? undefined : "1"),
};

/** Checks a request and gives it the engine's form. `extra` names what is allowed besides {@link ChatOptions}. */
export function engineRequest(
  messages: ChatMessage[],
  options: ChatOptions = {},
  extra: Record<string, Check> = {},
): EngineRequest {
  if (typeof options !== "object" || options === null) throw invalid("options", "an object", options);
  checkAll(options, { ...OPTIONS, ...extra }, "");
  const reasoning: ReasoningOptions = options.reasoning ?? {};
  checkAll(reasoning, REASONING, "reasoning.");
  checkMessages(messages);
  if (options.top_logprobs !== undefined && !options.logprobs) {
    throw new AloudError("invalid-request", "`top_logprobs`: expected `logprobs: true` beside it");
  }
  const { effort, budget_tokens } = reasoning;
  const budget = budget_tokens ?? (effort && effort !== "none" ? EFFORTS[effort] : undefined);
  return {
    messages: messages.map(({ role, content }) => ({ role, content })),
    max_tokens: options.max_tokens,
    temperature: options.temperature,
    top_p: options.top_p,
    top_k: options.top_k,
    min_p: options.min_p,
    repetition_penalty: options.repetition_penalty,
    presence_penalty: options.presence_penalty,
    frequency_penalty: options.frequency_penalty,
    seed: options.seed ?? randomSeed(),
    stop: typeof options.stop === "string" ? [options.stop] : (options.stop ?? []),
    think_budget: budget,
    think: effort === "none" ? false : undefined,
    top_logprobs: options.logprobs ? (options.top_logprobs ?? 0) : undefined,
  };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
