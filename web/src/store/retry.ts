/** Trying again what may pass: a lost connection, a busy server. */

import { AloudError, throwIfAborted } from "../errors.ts";

export interface RetryOptions {
  /** Failures in a row after which it is given up. */
  attempts: number;
  /** The first pause; each further one is twice as long. */
  pauseMs: number;
}

/** An error that may be gone at the next attempt, after at least `pauseMs`. */
export class Passing extends Error {
  constructor(
    readonly error: AloudError,
    readonly pauseMs = 0,
  ) {
    super(error.message);
  }
}

const LONGEST_PAUSE_MS = 30_000;

/** Runs `attempt` until it succeeds or fails for good. Failures after which `done` grew are not counted. */
export async function retrying<T>(
  options: RetryOptions,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  done: () => number = () => 0,
): Promise<T> {
  for (let failures = 0; ; ) {
    throwIfAborted(signal);
    const before = done();
    try {
      return await attempt();
    } catch (thrown) {
      throwIfAborted(signal);
      if (!(thrown instanceof Passing)) throw thrown;
      failures = done() > before ? 1 : failures + 1;
      if (failures >= options.attempts) throw thrown.error;
      const pauseMs = options.pauseMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      await pause(Math.min(Math.max(pauseMs, thrown.pauseMs), LONGEST_PAUSE_MS), signal);
    }
  }
}

export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
