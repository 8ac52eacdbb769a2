/** How far a download is, told at most ten times a second. */

import type { Progress } from "../types.ts";

const WINDOW_MS = 4000;
const INTERVAL_MS = 100;

/** Bytes per second over the last seconds. Times are in milliseconds and do not go back. */
export class SpeedMeter {
  private readonly samples: { atMs: number; bytes: number }[] = [];

  add(atMs: number, bytes: number): void {
    const last = this.samples.at(-1);
    if (last && atMs - last.atMs < INTERVAL_MS) last.bytes += bytes;
    else this.samples.push({ atMs, bytes });
    this.forget(atMs);
  }

  rate(nowMs: number): number {
    this.forget(nowMs);
    const [first] = this.samples;
    if (!first) return 0;
    const bytes = this.samples.reduce((sum, sample) => sum + sample.bytes, 0);
    return (bytes * 1000) / Math.max(nowMs - first.atMs, INTERVAL_MS);
  }

  private forget(nowMs: number): void {
    while (this.samples[0] && nowMs - this.samples[0].atMs > WINDOW_MS) this.samples.shift();
  }
}

type StorePhase = "connect" | "download" | "verify";

export class ProgressReporter {
  private readonly meter = new SpeedMeter();
  private phase: StorePhase = "connect";
  private loaded = 0;
  private total = 0;
  private toldMs = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private tell: ((progress: Progress) => void) | undefined) {}

  update(phase: StorePhase, loaded: number, total: number): void {
    const isNew = phase !== this.phase || this.toldMs === -Infinity;
    if (!isNew && loaded > this.loaded) this.meter.add(performance.now(), loaded - this.loaded);
    Object.assign(this, { phase, loaded, total });
    if (!this.tell || this.timer !== undefined) return;
    const waitMs = INTERVAL_MS - (performance.now() - this.toldMs);
    if (waitMs <= 0) this.send();
    else this.timer = setTimeout(() => this.send(), waitMs);
  }

  /** Tells nothing any more, but what happened before. */
  stop(): void {
    if (this.timer !== undefined) this.send();
    this.tell = undefined;
  }

  private send(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.toldMs = performance.now();
    const { phase, loaded, total } = this;
    this.tell?.({ phase, loaded, total, bytesPerSecond: this.meter.rate(this.toldMs) });
  }
}
