/** WebGPU as the engine needs it: an adapter, or in words why there is none. */
import { AloudError } from "./errors.ts";

/** What is known of the adapter before a device is opened. */
export interface GpuInfo {
  name: string;
  /** All that tells it, its driver and the browser's compiler from others, as far as that is shown. */
  id: string;
  /** Smallest size of subgroups, where they are offered. */
  subgroupSize?: number;
  /** Whether the CPU plays the GPU. */
  isCpu: boolean;
  limits: GPUSupportedLimits;
  features: string[];
}

/** Names of the feature under which browsers offer subgroups, and what a device is asked for. */
const SUBGROUPS = "subgroups" as GPUFeatureName;

/** Asks for an adapter, and sees to it that devices come with subgroups where there are any. */
export async function openGpu(): Promise<GpuInfo> {
  if (!globalThis.isSecureContext) {
    throw new AloudError("webgpu-missing", "WebGPU is offered to secure pages only: serve this one by https or from localhost");
  }
  if (!navigator.gpu) throw new AloudError("webgpu-missing", missing());
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new AloudError(
      "no-adapter",
      "this browser has WebGPU but offers no GPU: it may be on the browser's blocklist, switched off in its settings " +
        "(hardware acceleration), or without a driver; chrome://gpu tells which",
    );
  }
  wrapRequestDevice();
  const { vendor, architecture, device, description, subgroupMinSize, isFallbackAdapter: isCpu } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(" ") || "a GPU without a name";
  const id = [vendor, architecture, device, description, navigator.userAgent].join(", ");
  const subgroupSize = adapter.features.has(SUBGROUPS) ? subgroupMinSize : undefined;
  return { name, id, subgroupSize, isCpu, limits: adapter.limits, features: [...adapter.features] };
}

let wrapped = false;
let newest: GPUDevice | undefined;
let openings: Promise<unknown> = Promise.resolve();

/** Runs what opens a device, one at a time in this thread, and tells which it is: `newest()` after it was opened. */
export function opening<T>(work: (newest: () => GPUDevice | undefined) => Promise<T>): Promise<T> {
  const turn = openings.then(() => {
    newest = undefined;
    return work(() => newest);
  });
  openings = turn.catch(() => {});
  return turn;
}

/** The engine's own request for a device cannot name subgroups; here they are added to it, and the device is kept in sight. */
function wrapRequestDevice(): void {
  if (wrapped) return;
  wrapped = true;
  const prototype = GPUAdapter.prototype;
  const requestDevice = prototype.requestDevice;
  prototype.requestDevice = async function (this: GPUAdapter, descriptor?: GPUDeviceDescriptor) {
    const required = new Set(descriptor?.requiredFeatures ?? []);
    if (this.features.has(SUBGROUPS)) required.add(SUBGROUPS);
    newest = await requestDevice.call(this, { ...descriptor, requiredFeatures: [...required] });
    return newest;
  };
}

/** Why a browser has no WebGPU, as far as it can be told from outside, and what helps. */
export function missing(agent: string = navigator.userAgent): string {
  const way =
    /Firefox\//.test(agent) ? "Firefox has it from 141 on Windows and 145 on macOS; elsewhere set dom.webgpu.enabled in about:config"
    : /Version\/.*Safari\//.test(agent) ? "Safari has it from version 26"
    : /Linux/.test(agent) && /Chrom/.test(agent) && !/Android/.test(agent) ?
      "on Linux, Chrome may want --enable-features=Vulkan and --enable-unsafe-webgpu"
    : "Chrome and Edge have it from version 113, Safari from 26";
  return `this browser has no WebGPU: ${way}`;
}
