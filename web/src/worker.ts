/** The worker: a core, and messages in and out. */
import { loadCore } from "./core.ts";
import type { Backend } from "./engine.ts";
import { toAloudError } from "./errors.ts";
import type { FromWorker, ToWorker } from "./protocol.ts";

const say = (message: FromWorker): void => self.postMessage(message);
const underWay = new Map<number, AbortController>();
let core: Backend | undefined;

/** Runs a call so that it can be aborted, and says how it ended. */
async function call(id: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const abort = new AbortController();
  underWay.set(id, abort);
  try {
    await work(abort.signal);
    say({ type: "result", id, info: core?.info });
  } catch (thrown) {
    const { code, message } = toAloudError(thrown);
    say({ type: "error", id, code, message });
  } finally {
    underWay.delete(id);
  }
}

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case "load":
      void call(data.id, async (signal) => {
        core = await loadCore(data.options, (progress) => say({ type: "progress", id: data.id, progress }), signal);
      });
      break;
    case "run":
      void call(data.id, (signal) => core!.run(data.request, (event) => say({ type: "event", id: data.id, event }), signal));
      break;
    case "abort":
      underWay.get(data.id)?.abort();
      break;
    case "answer-now":
      core?.answerNow();
      break;
    case "dispose":
      void call(data.id, async () => core?.dispose());
  }
});
