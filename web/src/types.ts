/** The public types: what an engine is given and what it says. */

/**
 * Where a model is: a URL (of a GGUF file, or of a folder as Hugging Face has it, ending with `/`), `hf:org/repo/file.gguf`
 * (with `@revision` behind the repository if it is not `main`), a file from disk, or the parts of a split GGUF in order.
 */
export type ModelSource = string | URL | Blob | FileSystemFileHandle | (string | URL | Blob | FileSystemFileHandle)[];

/** What loading is busy with. */
export type Phase = "connect" | "download" | "verify" | "upload" | "compile" | "ready";

/** How far loading is. Bytes of the phase; `total` is 0 while it is not known. */
export interface Progress {
  phase: Phase;
  loaded: number;
  total: number;
  /** Over the last seconds; 0 where nothing is measured. */
  bytesPerSecond: number;
}

/** What the caller knows of a file before it comes. */
export interface ExpectedHashes {
  sha256?: string;
  chunks?: string[];
}

export interface LoadOptions {
  model: ModelSource;
  /** Tokens of context; by default 4096, or fewer if the model was made for fewer. */
  contextLength?: number;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
  /** `auto` keeps downloads in the browser's storage; `none` sends them to the GPU alone. */
  storage?: "auto" | "none";
  /**
   * What is known of files, by their names: SHA-256 as 64 hex digits, of the whole and of each chunk of 16 MiB. What differs
   * is not loaded. Files of the Hub are compared with its own hashes anyway.
   */
  hashes?: Record<string, ExpectedHashes>;
  /** Guesses several tokens and checks them at once. `auto` where it helps. The text is the same. */
  drafts?: "auto" | "off" | "mtp" | "lookup";
  /**
   * How threads share the rows of weights, and which kernels multiply a prompt: `on` uses what was measured on this GPU, measures for about a fifth of a second what is
   * not known yet, and keeps it in the browser's storage, if that is used. `off` does neither. `auto`, the default, is `on` where
   * there is a real GPU. Sums are rounded in another order, and a prompt's factors
   * may be rounded to halves, within 2e-3 of a product.
   */
  tune?: "auto" | "off" | "on";
  /**
   * Milliseconds that an answer may go without a sign of life of the GPU, by default 120,000. Then it counts as hung, and the
   * answer goes on on a new device.
   */
  gpuTimeout?: number;
  /** False runs the engine in this thread. */
  worker?: boolean;
  /** Where `worker.js` of this package is served, if not beside the module: for pages whose CSP or bundler asks for it. */
  workerUrl?: string | URL;
  /** Where `aloud_web_bg.wasm` of this package is served, if not beside the module. */
  wasmUrl?: string | URL;
}

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** How an answer is made: the names of OpenAI's API, with DeepSeek's and vLLM's where that has none. */
export interface ChatOptions {
  max_tokens?: number;
  /** 0 takes the likeliest token. By default what the model's makers recommend. */
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  seed?: number;
  /** Up to four texts that end the answer and are not part of it. */
  stop?: string | string[];
  /** The probability of each token, with those of the `top_logprobs` likeliest. */
  logprobs?: boolean;
  top_logprobs?: number;
  reasoning?: ReasoningOptions;
  signal?: AbortSignal;
}

export interface ReasoningOptions {
  /** Tokens of thought after which the engine closes it. */
  budget_tokens?: number;
  /** `none` answers without a thought; the others are budgets of 256, 1024 and 8192 tokens. */
  effort?: "none" | "low" | "medium" | "high";
  /** Thinks, but does not tell. */
  hide?: boolean;
}

/** A token's natural logarithm of its probability before temperature and cuts. */
export interface TokenLogprob {
  token: string;
  logprob: number;
  bytes: number[];
  top_logprobs: { token: string; logprob: number; bytes: number[] }[];
}

export interface Usage {
  prompt_tokens: number;
  /** Thought and answer, the end token included. */
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
  completion_tokens_details: { reasoning_tokens: number };
}

export interface Timings {
  time_to_first_token_ms: number;
  decode_ms: number;
  prefill_tokens_per_second: number;
  decode_tokens_per_second: number;
}

export type FinishReason = "stop" | "length";

/** What happens on the way to an answer. */
export type ChatEvent =
  | { type: "prefill"; done: number; total: number }
  | { type: "reasoning"; text: string }
  | { type: "answer"; text: string }
  | { type: "logprobs"; part: "reasoning" | "answer"; content: TokenLogprob[] }
  /** The GPU went away; the engine loads again and goes on with the same answer. */
  | { type: "device-lost"; reason: string }
  | { type: "device-restored" }
  | { type: "done"; finish_reason: FinishReason; usage: Usage; timings: Timings };

export interface ChatCompletionRequest extends ChatOptions {
  messages: ChatMessage[];
  model?: string;
  stream?: boolean;
  stream_options?: { include_usage?: boolean };
  n?: 1;
}

export interface ChatCompletionMessage {
  role: "assistant";
  content: string;
  reasoning_content?: string;
}

export interface ChoiceLogprobs {
  content: TokenLogprob[] | null;
  reasoning_content: TokenLogprob[] | null;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: [
    { index: 0; message: ChatCompletionMessage; logprobs: ChoiceLogprobs | null; finish_reason: FinishReason },
  ];
  usage: Usage;
  timings: Timings;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: 0;
    delta: { role?: "assistant"; content?: string; reasoning_content?: string };
    logprobs?: ChoiceLogprobs | null;
    finish_reason: FinishReason | null;
  }[];
  usage?: Usage;
  timings?: Timings;
}

/** What a loaded model is. */
export interface ModelInfo {
  name: string;
  architecture: string;
  parameters: number;
  quantization: string;
  contextLength: number;
  /** Bytes on the GPU. */
  gpuBytes: number;
  /** Bytes of the engine's own memory, at most until now. */
  wasmBytes: number;
  adapter: string;
  /** Threads per row of weights, and tiles for prompts, of the formats and widths that were measured: `Q4_1/narrow=32 Q8_0/wide=half`. */
  tuning: string;
}

export interface ChatCompletions {
  create(request: ChatCompletionRequest & { stream: true }): Promise<AsyncIterable<ChatCompletionChunk>>;
  create(request: ChatCompletionRequest & { stream?: false }): Promise<ChatCompletion>;
}

/** A loaded model. In a worker or in this thread, it is the same. */
export interface Engine {
  readonly model: ModelInfo;
  /** `engine.chat(messages)` gives typed events; `engine.chat.completions.create(request)` is OpenAI's shape. */
  readonly chat: ((messages: ChatMessage[], options?: ChatOptions) => AsyncIterable<ChatEvent>) & {
    readonly completions: ChatCompletions;
  };
  /** Closes the thought that is under way, so that the answer begins. */
  answerNow(): void;
  /** Frees everything on the GPU, and the worker. */
  dispose(): Promise<void>;
}
