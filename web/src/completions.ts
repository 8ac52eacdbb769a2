/** OpenAI's shape of a completion, whole or in chunks, with DeepSeek's `reasoning_content`. */
import { AloudError } from "./errors.ts";
import type { Run } from "./engine.ts";
import { COMPLETION_OPTIONS, engineRequest } from "./request.ts";
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  ChatCompletions,
  ChatEvent,
  ChatOptions,
  ChoiceLogprobs,
  TokenLogprob,
} from "./types.ts";

type Chunk = ChatCompletionChunk["choices"][number];

/** `engine.chat.completions` of a model. */
export function completions(run: Run, model: string): ChatCompletions {
  async function create(request: ChatCompletionRequest): Promise<unknown> {
    const checked = engineRequest(request?.messages, request as ChatOptions, COMPLETION_OPTIONS);
    const head = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
    const events = run(checked, request);
    return request.stream ? chunks(events, head, request) : whole(events, head, request);
  }
  return { create } as ChatCompletions;
}

interface Head {
  id: string;
  created: number;
  model: string;
}

async function whole(events: AsyncIterable<ChatEvent>, head: Head, request: ChatCompletionRequest): Promise<ChatCompletion> {
  let [content, reasoning] = ["", ""];
  const logprobs: Record<"reasoning" | "answer", TokenLogprob[]> = { reasoning: [], answer: [] };
  for await (const event of events) {
    if (event.type === "answer") content += event.text;
    else if (event.type === "reasoning") reasoning += event.text;
    else if (event.type === "logprobs") logprobs[event.part].push(...event.content);
    else if (event.type === "done") {
      const { finish_reason, usage, timings } = event;
      const message = { role: "assistant" as const, content, ...(reasoning && { reasoning_content: reasoning }) };
      const told = request.logprobs ? { content: logprobs.answer, reasoning_content: logprobs.reasoning } : null;
      const choice = { index: 0 as const, message, logprobs: told, finish_reason };
      return { ...head, object: "chat.completion", choices: [choice], usage, timings };
    }
  }
  throw new AloudError("internal", "the answer ended without an end");
}

async function* chunks(
  events: AsyncIterable<ChatEvent>,
  head: Head,
  request: ChatCompletionRequest,
): AsyncIterable<ChatCompletionChunk> {
  const chunk = (choices: Chunk[]): ChatCompletionChunk => ({ ...head, object: "chat.completion.chunk", choices });
  const delta = (delta: Chunk["delta"], logprobs?: ChoiceLogprobs): Chunk => ({
    index: 0,
    delta,
    ...(logprobs && { logprobs }),
    finish_reason: null,
  });
  yield chunk([delta({ role: "assistant", content: "" })]);
  for await (const event of events) {
    if (event.type === "answer") yield chunk([delta({ content: event.text })]);
    else if (event.type === "reasoning") yield chunk([delta({ reasoning_content: event.text })]);
    else if (event.type === "logprobs") {
      const [content, reasoning_content] = event.part === "answer" ? [event.content, null] : [null, event.content];
      yield chunk([delta({}, { content, reasoning_content })]);
    } else if (event.type === "done") {
      const { finish_reason, usage, timings } = event;
      yield chunk([{ index: 0, delta: {}, finish_reason }]);
      if (request.stream_options?.include_usage) yield { ...chunk([]), usage, timings };
    }
  }
}
