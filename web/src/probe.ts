/** Will a model run here, and how fast: asked before it is downloaded. */
import { need as needOf, speed as measure } from "../pkg/aloud_web.js";
import { wasm } from "./core.ts";
import { toAloudError } from "./errors.ts";
import { type GpuInfo, openGpu } from "./gpu.ts";
import { lastCrash, openModel } from "./store/index.ts";
import type { ModelSource } from "./types.ts";

/** Bytes of a GPU that are left to activations, the browser and the driver. */
const RESERVE_BYTES = 256 << 20;
/** Above this share of what is known to be there, memory is tight. */
const TIGHT = 0.75;
/** Tokens of the prompt whose time to the first token is told. */
const PROMPT_TOKENS = 128;

export interface ProbeOptions {
  model?: ModelSource;
  contextLength?: number;
  signal?: AbortSignal;
  wasmUrl: string;
}

export interface DeviceSpeed {
  /** Bytes of weights that a matrix times a vector reads. */
  gigabytesPerSecond: number;
  microsecondsPerDispatch: number;
  readbackMilliseconds: number;
}

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
}

export interface Probe {
  /** Whether anything can run here; if not, `reason` says why and what helps. */
  available: boolean;
  reason?: string;
  adapter?: string;
  features?: string[];
  limits?: { maxBufferBytes: number; maxBindingBytes: number; maxWorkgroupBytes: number };
  speed?: DeviceSpeed;
  model?: ModelForecast;
  /** What an earlier visit was busy with when its tab was killed. */
  lastCrash?: { source: string; phase: string; at: Date };
}

/** What `need` of crates/aloud-web/src/probe.rs tells. */
interface Need {
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

interface Speed {
  bytesPerSecond: number;
  dispatchSeconds: number;
  readbackSeconds: number;
}

/** Looks at the GPU, measures it for about half a second, and says what a model would be like. */
export async function probe({ model, contextLength, signal, wasmUrl }: ProbeOptions): Promise<Probe> {
  const crash = (await lastCrash().catch(() => null)) ?? undefined;
  let gpu: GpuInfo;
  try {
    gpu = await openGpu();
  } catch (error) {
    return { available: false, reason: toAloudError(error).message, lastCrash: crash };
  }
  await wasm(wasmUrl);
  const need = model === undefined ? undefined : await header(model, contextLength, signal);
  const speed = JSON.parse(await measure(need?.quantization ?? "Q8_0", gpu.subgroupSize)) as Speed;
  const { maxBufferSize, maxStorageBufferBindingSize, maxComputeWorkgroupStorageSize } = gpu.limits;
  return {
    available: true,
    adapter: gpu.name,
    features: gpu.features,
    limits: {
      maxBufferBytes: maxBufferSize,
      maxBindingBytes: maxStorageBufferBindingSize,
      maxWorkgroupBytes: maxComputeWorkgroupStorageSize,
    },
    speed: {
      gigabytesPerSecond: speed.bytesPerSecond / 1e9,
      microsecondsPerDispatch: speed.dispatchSeconds * 1e6,
      readbackMilliseconds: speed.readbackSeconds * 1e3,
    },
    model: need && forecast(need, speed, gpu.limits),
    lastCrash: crash,
  };
}

/** What a model needs, from its header alone. */
async function header(model: ModelSource, contextLength?: number, signal?: AbortSignal): Promise<Need> {
  // Small steps, and no more than one ahead: what lies behind the header is not wanted.
  const opened = await openModel(model, { storage: "none", signal, tuning: { chunkBytes: 1 << 20, connections: 1 } });
  try {
    return JSON.parse(await needOf(opened, contextLength)) as Need;
  } finally {
    await opened.close();
  }
}

/** Time and room. Browsers do not tell how much memory a GPU has: what is known is the machine's, and the largest buffer. */
export function forecast(
  need: Need,
  speed: Speed,
  limits: { maxStorageBufferBindingSize: number },
  memoryGiB: number | undefined = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory,
): ModelForecast {
  const { contextLength, maxContextLength, weightBytes, kvBytes, readBytes, dispatches } = need;
  const totalBytes = weightBytes + kvBytes;
  const readSeconds = (readBytes + kvBytes / 2) / speed.bytesPerSecond;
  // A model's dispatch has more bindings and workgroups than the smallest, which was measured: about twice its cost.
  const decodeSeconds = readSeconds + 2 * dispatches * speed.dispatchSeconds + speed.readbackSeconds;
  // A chunk of a prompt reads the weights once and computes its rows together, a few times cheaper than one by one.
  const prefillSeconds = (PROMPT_TOKENS / 4) * decodeSeconds;
  const bindingBytesPerToken = need.kvBindingBytes / contextLength;
  const kvBytesPerToken = kvBytes / contextLength;
  const byBinding = limits.maxStorageBufferBindingSize / bindingBytesPerToken;
  const room = memoryGiB === undefined ? Infinity : memoryGiB * 2 ** 30 - RESERVE_BYTES;
  const byMemory = (share: number): number => (room * share - weightBytes) / kvBytesPerToken;
  const fitting = Math.floor(Math.min(maxContextLength, byBinding, byMemory(TIGHT)));
  const found = judge(need, { totalBytes, room, byBinding, memoryGiB });
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
  };
}

function judge(
  { contextLength, maxContextLength, quantization }: Need,
  known: { totalBytes: number; room: number; byBinding: number; memoryGiB: number | undefined },
): Pick<ModelForecast, "verdict" | "reason"> {
  const { totalBytes, room, byBinding, memoryGiB } = known;
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  if (contextLength > maxContextLength) {
    return { verdict: "no", reason: `the model was made for ${maxContextLength} tokens of context, ${contextLength} were asked for` };
  }
  if (contextLength > byBinding) {
    return { verdict: "no", reason: `this GPU binds a cache of ${Math.floor(byBinding)} tokens at most, ${contextLength} were asked for` };
  }
  if (totalBytes > room) {
    const smaller = /^(F|BF|Q[5-8])/.test(quantization) ? "; a 4-bit quantisation needs less" : "; a smaller model needs less";
    return { verdict: "no", reason: `it needs ${gib(totalBytes)}, and of the machine's ${memoryGiB} GiB ${gib(Math.max(room, 0))} can be had${smaller}` };
  }
  if (totalBytes > room * TIGHT) {
    return { verdict: "tight", reason: `it needs ${gib(totalBytes)} of the ${gib(room)} that can be had; close other tabs` };
  }
  return { verdict: "ok", reason: `it needs ${gib(totalBytes)}` };
}
