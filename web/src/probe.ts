/** Will a model run here, and how fast: asked before it is downloaded. */
import { need as needOf, speed as measure } from "../pkg/aloud_web.js";
import { readBy, wasm } from "./core.ts";
import { throwIfAborted, toAloudError } from "./errors.ts";
import { forecast, type ModelForecast, type Need, type Speed } from "./forecast.ts";
import { type GpuInfo, opening, openGpu } from "./gpu.ts";
import { type Crash, lastCrash, openModel } from "./store/index.ts";
import type { ModelSource } from "./types.ts";

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
  lastCrash?: Crash;
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
  const speed = await opening((newest) => measured(need?.quantization ?? "Q8_0", gpu, newest, signal));
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
    model: need && forecast(need, speed, gpu),
    lastCrash: crash,
  };
}

/** Measures the GPU; an abort takes the device away from it. */
async function measured(
  quantization: string,
  gpu: GpuInfo,
  newest: () => GPUDevice | undefined,
  signal?: AbortSignal,
): Promise<Speed> {
  throwIfAborted(signal);
  const abort = (): void => newest()?.destroy();
  signal?.addEventListener("abort", abort);
  try {
    const speed = JSON.parse(await measure(quantization, gpu.subgroupSize)) as Speed;
    throwIfAborted(signal);
    return speed;
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** What a model needs, from its header alone. */
async function header(model: ModelSource, contextLength?: number, signal?: AbortSignal): Promise<Need> {
  // Small steps, and no more than one ahead: what lies behind the header is not wanted.
  const opened = await openModel(model, { storage: "none", signal, tuning: { chunkBytes: 1 << 20, connections: 1 } });
  try {
    return JSON.parse(await readBy(opened, signal, (files) => needOf(files, contextLength))) as Need;
  } finally {
    await opened.close();
  }
}
