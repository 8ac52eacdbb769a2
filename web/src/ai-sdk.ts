/**
 * A language model for Vercel's AI SDK: `streamText({ model: aiSdk(engine), prompt })`. Thoughts come as reasoning parts.
 *
 * Source of the interface: `LanguageModelV4` of @ai-sdk/provider 4.
 */
import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4FinishReason,
  LanguageModelV4Message,
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
  SharedV4Warning,
} from "@ai-sdk/provider";
import { AloudError } from "./errors.ts";
import { readable } from "./stream.ts";
import type { ChatEvent, ChatMessage, ChatOptions, Engine, FinishReason, ReasoningOptions, Usage } from "./types.ts";

type Effort = NonNullable<LanguageModelV4CallOptions["reasoning"]>;

const EFFORTS: Record<Effort, ReasoningOptions["effort"]> = {
  "provider-default": undefined,
  none: "none",
  minimal: "low",
  low: "low",
  medium: "medium",
  high: "high",
  xhigh: "high",
  max: undefined,
};

/** The model of a loaded engine. */
export function aiSdk(engine: Engine): LanguageModelV4 {
  return {
    specificationVersion: "v4",
    provider: "aloud",
    modelId: engine.model.name,
    supportedUrls: {},
    async doGenerate(call) {
      const { messages, options, warnings } = requestOf(call);
      const { choices, usage } = await engine.chat.completions.create({ messages, ...options });
      const [{ message, finish_reason }] = choices;
      const reasoning = message.reasoning_content;
      return {
        content: [
          ...(reasoning ? [{ type: "reasoning" as const, text: reasoning }] : []),
          { type: "text" as const, text: message.content },
        ],
        finishReason: finishOf(finish_reason),
        usage: usageOf(usage),
        warnings,
      };
    },
    async doStream(call) {
      const { messages, options, warnings } = requestOf(call);
      return { stream: partsOf(engine.chat(messages, options), warnings) };
    },
  };
}

function requestOf(call: LanguageModelV4CallOptions) {
  const warnings: SharedV4Warning[] = [];
  if (call.tools?.length) warnings.push({ type: "unsupported", feature: "tools" });
  if (call.responseFormat?.type === "json") warnings.push({ type: "unsupported", feature: "responseFormat" });
  const effort = call.reasoning && EFFORTS[call.reasoning];
  const options: ChatOptions = {
    max_tokens: call.maxOutputTokens,
    temperature: call.temperature,
    top_p: call.topP,
    top_k: call.topK,
    presence_penalty: call.presencePenalty,
    frequency_penalty: call.frequencyPenalty,
    stop: call.stopSequences?.length ? call.stopSequences : undefined,
    seed: call.seed,
    signal: call.abortSignal,
    ...(effort && { reasoning: { effort } }),
  };
  return { messages: call.prompt.map(messageOf), options, warnings };
}

/** Texts of a message; earlier thoughts are dropped, as R1's template would. */
function messageOf({ role, content }: LanguageModelV4Message): ChatMessage {
  if (role === "system") return { role, content };
  if (role === "tool") throw new AloudError("invalid-request", "a message of role `tool`: expected system, user or assistant");
  const texts = content.map((part) => {
    if (part.type === "text") return part.text;
    if (part.type === "reasoning") return "";
    throw new AloudError("invalid-request", `a part of type \`${part.type}\` in a message: expected text`);
  });
  return { role, content: texts.join("") };
}

/** Reasoning, then text, each begun and ended. */
function partsOf(events: AsyncIterable<ChatEvent>, warnings: SharedV4Warning[]): ReadableStream<LanguageModelV4StreamPart> {
  async function* parts(): AsyncGenerator<LanguageModelV4StreamPart> {
    yield { type: "stream-start", warnings };
    let open: "reasoning" | "text" | undefined;
    const end = (): LanguageModelV4StreamPart[] => (open ? [{ type: `${open}-end`, id: open }] : []);
    for await (const event of events) {
      if (event.type === "reasoning" || event.type === "answer") {
        const kind = event.type === "answer" ? "text" : "reasoning";
        if (open !== kind) {
          yield* end();
          yield { type: `${kind}-start`, id: kind };
          open = kind;
        }
        yield { type: `${kind}-delta`, id: kind, delta: event.text };
      } else if (event.type === "done") {
        yield* end();
        yield { type: "finish", finishReason: finishOf(event.finish_reason), usage: usageOf(event.usage) };
      }
    }
  }
  return readable(parts());
}

function finishOf(reason: FinishReason): LanguageModelV4FinishReason {
  return { unified: reason, raw: reason };
}

function usageOf({ prompt_tokens, completion_tokens, ...details }: Usage): LanguageModelV4Usage {
  const { cached_tokens } = details.prompt_tokens_details;
  const { reasoning_tokens } = details.completion_tokens_details;
  return {
    inputTokens: {
      total: prompt_tokens,
      noCache: prompt_tokens - cached_tokens,
      cacheRead: cached_tokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: completion_tokens, text: completion_tokens - reasoning_tokens, reasoning: reasoning_tokens },
  };
}
