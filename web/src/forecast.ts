/** What a model would be like, by what it needs and how fast the GPU is. */

/** Bytes of a GPU that are left to activations, the browser and the driver. */
const RESERVE_BYTES = 256 << 20;
/** Above this share of what is known to be there, memory is tight. */
const TIGHT = 0.75;
/** Bits per weight of published files, by the ends of their names, the best first. */
const QUANTS = { Q8_0: 8.5, Q6_K: 6.6, Q5_K_M: 5.7, Q4_K_M: 4.9, Q3_K_M: 4, Q2_K: 3.4 };
/** Tokens of the prompt whose time to the first token is told. */
const PROMPT_TOKENS = 128;

export interface ModelForecast {
  architecture: string;
  parameters: number;
  quantization: string;
  contextLength: number;
  maxContextLength: number;
  weightBytes: number;
  kvBytes: number;
  totalBytes: number;
  /** With half of the context in the cache. */
  tokensPerSecond: number;
  /** After a prompt of 128 tokens. */
  timeToFirstTokenMilliseconds: number;
  verdict: "ok" | "tight" | "no";
  reason: string;
  /** Where the verdict is not `ok`: the longest context that would be, if there is one. */
  fittingContextLength?: number;
  /** Where memory is the reason: the best quantisation of this model that would be `ok`, if one is smaller. */
  fittingQuantization?: string;
}

/** What `need` of crates/aloud-web/src/probe.rs tells. */
export interface Need {
  architecture: string;
  parameters: number;
  quantization: string;
  maxContextLength: number;
  contextLength: number;
  weightBytes: number;
  kvBytes: number;
  kvBindingBytes: number;
  readBytes: number;
  dispatches: number;
}

/** What `speed` there tells. */
export interface Speed {
  bytesPerSecond: number;
  dispatchSeconds: number;
  readbackSeconds: number;
}

/** Time and room. Browsers do not tell how much memory a GPU has: what is known is the machine's, and the largest buffer. */
export function forecast(
  need: Need,
  speed: Speed,
  { limits, subgroupSize, isCpu }: { limits: { maxStorageBufferBindingSize: number }; subgroupSize?: number; isCpu: boolean },
  memoryGiB: number | undefined = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory,
): ModelForecast {
  const { contextLength, maxContextLength, weightBytes, kvBytes, readBytes, dispatches } = need;
  const totalBytes = weightBytes + kvBytes;
  const readSeconds = (readBytes + kvBytes / 2) / speed.bytesPerSecond;
  // A model's dispatch has more bindings and workgroups than the smallest, which was measured: about twice its cost, and
  // twice that on a CPU that plays the GPU, which shares each among its threads.
  const dispatchSeconds = (isCpu ? 4 : 2) * speed.dispatchSeconds;
  const decodeSeconds = readSeconds + dispatches * dispatchSeconds + speed.readbackSeconds;
  // A chunk of a prompt is computed at once, its rows a few times cheaper than one by one; on subgroups of fewer than 8, rows
  // are computed one by one (`row_by_row` in crates/aloud-gpu).
  const rowsAtOnce = subgroupSize !== undefined && subgroupSize < 8 ? 1 : 4;
  const prefillSeconds = (PROMPT_TOKENS / rowsAtOnce) * readSeconds + decodeSeconds;
  const bindingBytesPerToken = need.kvBindingBytes / contextLength;
  const kvBytesPerToken = kvBytes / contextLength;
  const byBinding = limits.maxStorageBufferBindingSize / bindingBytesPerToken;
  const room = memoryGiB === undefined ? Infinity : memoryGiB * 2 ** 30 - RESERVE_BYTES;
  const byMemory = (share: number): number => (room * share - weightBytes) / kvBytesPerToken;
  const fitting = Math.floor(Math.min(maxContextLength, byBinding, byMemory(TIGHT)));
  const fits = ([, bits]: [string, number]): boolean => {
    const bytes = (need.parameters * bits) / 8;
    return bytes < weightBytes && bytes + kvBytes <= room * TIGHT;
  };
  const smaller = totalBytes > room * TIGHT ? Object.entries(QUANTS).find(fits)?.[0] : undefined;
  const found = judge(need, { totalBytes, room, byBinding, memoryGiB, smaller });
  return {
    architecture: need.architecture,
    parameters: need.parameters,
    quantization: need.quantization,
    contextLength,
    maxContextLength,
    weightBytes,
    kvBytes,
    totalBytes,
    tokensPerSecond: 1 / decodeSeconds,
    timeToFirstTokenMilliseconds: (prefillSeconds + speed.readbackSeconds) * 1e3,
    ...found,
    ...(found.verdict !== "ok" && fitting >= 256 && { fittingContextLength: fitting }),
    ...(smaller && { fittingQuantization: smaller }),
  };
}

function judge(
  { contextLength, maxContextLength }: Need,
  known: { totalBytes: number; room: number; byBinding: number; memoryGiB: number | undefined; smaller: string | undefined },
): Pick<ModelForecast, "verdict" | "reason"> {
  const { totalBytes, room, byBinding, memoryGiB, smaller } = known;
  const wayOut = smaller ? `as ${smaller} it would fit` : "a smaller model needs less";
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  if (contextLength > maxContextLength) {
    return { verdict: "no", reason: `the model was made for ${maxContextLength} tokens of context, ${contextLength} were asked for` };
  }
  if (contextLength > byBinding) {
    return { verdict: "no", reason: `this GPU binds a cache of ${Math.floor(byBinding)} tokens at most, ${contextLength} were asked for` };
  }
  if (totalBytes > room) {
    return { verdict: "no", reason: `it needs ${gib(totalBytes)}, and of the machine's ${memoryGiB} GiB ${gib(Math.max(room, 0))} can be had; ${wayOut}` };
  }
  if (totalBytes > room * TIGHT) {
    return { verdict: "tight", reason: `it needs ${gib(totalBytes)} of the ${gib(room)} that can be had; close other tabs${smaller ? `, or take it as ${smaller}` : ""}` };
  }
  return { verdict: "ok", reason: `it needs ${gib(totalBytes)}` };
}
