/** What a page and its worker say to each other. */
import type { CoreOptions } from "./core.ts";
import type { ErrorCode } from "./errors.ts";
import type { EngineRequest } from "./request.ts";
import type { ChatEvent, ModelInfo, Progress } from "./types.ts";

/** From the page. `id` names a call; answers carry it. */
export type ToWorker =
  | { type: "load"; id: number; options: CoreOptions }
  | { type: "run"; id: number; request: EngineRequest }
  | { type: "abort"; id: number }
  | { type: "answer-now" }
  | { type: "dispose"; id: number };

/** From the worker. */
export type FromWorker =
  | { type: "progress"; id: number; progress: Progress }
  | { type: "event"; id: number; event: ChatEvent }
  | { type: "result"; id: number; info?: ModelInfo }
  | { type: "error"; id: number; code: ErrorCode; message: string };
