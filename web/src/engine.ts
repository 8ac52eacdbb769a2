/** The public engine over a backend that may be in this thread or in a worker. */
import { completions } from "./completions.ts";
import { AloudError, toAloudError } from "./errors.ts";
import { type EngineRequest, engineRequest } from "./request.ts";
import { EventQueue } from "./stream.ts";
import type { ChatEvent, ChatMessage, ChatOptions, Engine, ModelInfo } from "./types.ts";

/** What runs a model. `run` tells events and resolves after the last; it rejects with an {@link AloudError}. */
export interface Backend {
  readonly info: ModelInfo;
  run(request: EngineRequest, onEvent: (event: ChatEvent) => void, signal: AbortSignal): Promise<void>;
  answerNow(): void;
  dispose(): Promise<void>;
}

/** Runs a checked request: its events, thoughts left out if they are to be hidden. */
export type Run = (request: EngineRequest, options: ChatOptions) => AsyncIterable<ChatEvent>;

/** The engine that callers have. One answer at a time. */
export function createEngine(backend: Backend): Engine {
  let disposed = false;
  /** The answer that is under way, and whether its reader has left it. */
  let underWay: { settled: Promise<void>; left: AbortSignal } | undefined;

  const run: Run = (request, options) => {
    if (disposed) throw new AloudError("disposed", "the engine was disposed of; load the model again");
    if (underWay && !underWay.left.aborted) {
      throw new AloudError("busy", "another answer is under way; wait for its end, or abort it by its `signal`");
    }
    const left = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal;
    const queue = new EventQueue<ChatEvent>(() => left.abort());
    const hidden = options.reasoning?.hide === true;
    let done: ChatEvent | undefined;
    const tell = (event: ChatEvent): void => {
      const ofThought = event.type === "reasoning" || (event.type === "logprobs" && event.part === "reasoning");
      // Told when the next answer may begin, not before.
      if (event.type === "done") done = event;
      else if (!(hidden && ofThought)) queue.push(event);
    };
    const before = underWay?.settled;
    const answer = async (): Promise<void> => {
      await before;
      let failure: AloudError | undefined;
      try {
        await backend.run(request, tell, signal);
      } catch (error) {
        failure = toAloudError(error);
      }
      if (mine === underWay) underWay = undefined;
      if (failure) return queue.fail(failure);
      if (done) queue.push(done);
      queue.end();
    };
    const mine: NonNullable<typeof underWay> = { settled: Promise.resolve(), left: left.signal };
    underWay = mine;
    mine.settled = answer();
    return queue;
  };

  const events = (messages: ChatMessage[], options: ChatOptions = {}): AsyncIterable<ChatEvent> =>
    run(engineRequest(messages, options), options);
  return {
    model: backend.info,
    chat: Object.assign(events, { completions: completions(run, backend.info.name) }),
    answerNow: () => backend.answerNow(),
    async dispose() {
      if (disposed) return;
      disposed = true;
      await backend.dispose();
    },
  };
}
