/** What can go wrong, closed: a `switch` over it is complete. */
export type ErrorCode =
  | "webgpu-missing" // this browser, or this page's context, has no WebGPU
  | "no-adapter" // WebGPU is there, a GPU that it may use is not
  | "device-lost" // the GPU went away and did not come back
  | "out-of-memory" // the GPU or the tab has no room
  | "network" // the server was not reached, or does not let this origin read (CORS)
  | "http-status" // the server answered with an error
  | "no-range" // the server does not know ranges
  | "truncated" // the server sent fewer bytes than it said
  | "changed" // the file is no longer the one that was begun
  | "integrity" // bytes differ from their SHA-256
  | "quota" // the disk, or the browser's share of it, is full
  | "storage" // the browser's storage failed otherwise
  | "not-a-model" // the file is no model
  | "unsupported-model" // a model, but none that the engine runs
  | "context-length" // more context than the model or the device has, or a prompt that does not fit it
  | "invalid-request" // a parameter's value
  | "unknown-parameter" // a parameter that there is not
  | "busy" // another answer is under way
  | "aborted" // by the caller
  | "disposed" // the engine was disposed of
  | "internal"; // a bug

/** Every error of this package. The message says what was expected, what was found, and the way out. */
export class AloudError extends Error {
  override readonly name = "AloudError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** What was thrown, as an `AloudError`: errors of Rust bring their code; what has none of ours is a bug. */
export function toAloudError(thrown: unknown): AloudError {
  if (thrown instanceof AloudError) return thrown;
  if (thrown instanceof DOMException && thrown.name === "AbortError") {
    return new AloudError("aborted", "aborted by the caller", { cause: thrown });
  }
  const code = (thrown as { code?: unknown } | null)?.code;
  if (thrown instanceof Error && typeof code === "string") {
    return new AloudError(code as ErrorCode, thrown.message, { cause: thrown });
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new AloudError("internal", message, { cause: thrown });
}

/** Throws if the caller has aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AloudError("aborted", "aborted by the caller", { cause: signal.reason });
}
