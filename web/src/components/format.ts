/** Numbers as people read them: bytes, times, rates. */
import type { Progress } from "../types.ts";

/** `7.8 MB`: decimal units, three digits. */
export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${Math.max(0, Math.round(bytes))} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 99.95 ? Math.round(value) : value.toFixed(value >= 9.995 ? 1 : 2)} ${units[unit]}`;
}

/** `0.8 s`, `12 s`, `2 min 5 s`, `1 h 4 min`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  const minutes = Math.round(whole / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** `1 token`, `1,204 tokens`. */
export function formatTokens(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`;
}

/** `21.3 tokens/s`. */
export function formatRate(perSecond: number): string {
  return `${perSecond >= 99.95 ? Math.round(perSecond) : perSecond.toFixed(1)} tokens/s`;
}

/** `1.5 B`, `671 B`, `7.3 M`: parameters of a model. */
export function formatParameters(count: number): string {
  const [value, unit] = count >= 1e9 ? [count / 1e9, "B"] : [count / 1e6, "M"];
  return `${value >= 99.95 ? Math.round(value) : Number(value.toFixed(1))} ${unit}`;
}

/** Milliseconds until a phase is through, or null where nothing tells. */
export function timeLeft(progress: Progress): number | null {
  if (progress.total <= 0 || progress.bytesPerSecond <= 0) return null;
  return (Math.max(0, progress.total - progress.loaded) / progress.bytesPerSecond) * 1000;
}

const PHASES: Record<Progress["phase"], string> = {
  connect: "Connecting",
  download: "Downloading",
  verify: "Checking the download",
  upload: "Moving to the GPU",
  compile: "Preparing the GPU",
  ready: "Ready",
};

/** What loading is busy with, and how far it is: `Downloading`, `412 MB of 1.10 GB · 23.1 MB/s · 30 s left`. */
export function describeProgress(progress: Progress): { title: string; detail: string } {
  const parts: string[] = [];
  if (progress.total > 0) parts.push(`${formatBytes(progress.loaded)} of ${formatBytes(progress.total)}`);
  else if (progress.loaded > 0) parts.push(formatBytes(progress.loaded));
  if (progress.bytesPerSecond > 0) parts.push(`${formatBytes(progress.bytesPerSecond)}/s`);
  const left = timeLeft(progress);
  if (left !== null && progress.loaded < progress.total) parts.push(`${formatDuration(left)} left`);
  return { title: PHASES[progress.phase], detail: parts.join(" · ") };
}
