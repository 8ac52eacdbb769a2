/** A conversation with an engine: turns, and what happens to them. Knows nothing of elements. */
import { AloudError, toAloudError } from "../errors.ts";
import type { ChatEvent, ChatMessage, ChatOptions, Engine, FinishReason, Timings, Usage } from "../types.ts";

/** `waiting`: for the engine, or for its first token. */
export type TurnState = "waiting" | "thinking" | "answering" | "done" | "stopped" | "failed";

export interface Turn {
  readonly id: number;
  readonly question: string;
  readonly state: TurnState;
  readonly thought: string;
  readonly answer: string;
  /** Tokens so far as events tell them; exact once `usage` is there. */
  readonly thoughtTokens: number;
  readonly answerTokens: number;
  /** From the first token of the thought to its end. */
  readonly thoughtMs: number;
  /** Tokens per second since the first token; 0 before there are any to measure. */
  readonly rate: number;
  /** How much of the prompt is read, while it is being read. */
  readonly read: { done: number; total: number } | null;
  /** A quiet word on the device. */
  readonly notice: string;
  readonly error: AloudError | null;
  readonly finish: FinishReason | null;
  readonly usage: Usage | null;
  readonly timings: Timings | null;
}

const FRESH = {
  state: "waiting",
  thought: "",
  answer: "",
  thoughtTokens: 0,
  answerTokens: 0,
  thoughtMs: 0,
  rate: 0,
  read: null,
  notice: "",
  error: null,
  finish: null,
  usage: null,
  timings: null,
} satisfies Partial<Turn>;

export interface ConversationHost {
  /** Something is to be drawn again. */
  changed(): void;
  /** An event of the turn that runs, after it was taken in. */
  happened(event: ChatEvent | { type: "asked" | "stopped" | "failed" }, turn: Turn): void;
}

export class Conversation {
  turns: readonly Turn[] = [];
  options: ChatOptions = {};
  /** Turns before the question are not told. */
  single = false;

  #host: ConversationHost;
  #engine: Engine | null = null;
  #nextId = 1;
  #run: { abort: AbortController; ended: Promise<void> } | null = null;

  constructor(host: ConversationHost) {
    this.#host = host;
  }

  get engine(): Engine | null {
    return this.#engine;
  }

  /** A question that was asked before the engine was there goes to it now. */
  set engine(engine: Engine | null) {
    if (engine === this.#engine) return;
    this.#run?.abort.abort();
    this.#engine = engine;
    const last = this.turns.at(-1);
    if (engine && last?.state === "waiting" && !this.#run) this.#start(last.id);
  }

  get running(): boolean {
    const state = this.turns.at(-1)?.state;
    return state === "waiting" || state === "thinking" || state === "answering";
  }

  async ask(question: string): Promise<void> {
    await this.stop();
    this.#add(question);
  }

  /** Asks a turn again, in other words if there are any; later turns are dropped. */
  async askAgain(id: number, question?: string): Promise<void> {
    await this.stop();
    const index = this.turns.findIndex((turn) => turn.id === id);
    if (index < 0) return;
    const text = question ?? this.turns[index]!.question;
    this.turns = this.turns.slice(0, index);
    this.#add(text);
  }

  /** Ends the turn that runs; what is written stays. */
  async stop(): Promise<void> {
    if (this.#run) {
      this.#run.abort.abort();
      await this.#run.ended;
    } else if (this.running) {
      this.#change(this.turns.at(-1)!.id, { state: "stopped" });
    }
  }

  answerNow(): void {
    if (this.running) this.#engine?.answerNow();
  }

  async clear(): Promise<void> {
    await this.stop();
    this.turns = [];
    this.#host.changed();
  }

  #add(question: string): void {
    const turn: Turn = { ...FRESH, id: this.#nextId++, question };
    this.turns = [...this.turns, turn];
    this.#host.happened({ type: "asked" }, turn);
    this.#host.changed();
    if (this.#engine) this.#start(turn.id);
  }

  #start(id: number): void {
    const abort = new AbortController();
    const run = { abort, ended: this.#answer(id, this.#engine!, abort.signal) };
    this.#run = run;
    void run.ended.then(() => {
      if (this.#run === run) this.#run = null;
      this.#host.changed();
    });
  }

  /** Never rejects: what goes wrong becomes the turn's state. */
  async #answer(id: number, engine: Engine, signal: AbortSignal): Promise<void> {
    const clock = { first: 0, thoughtFrom: 0 };
    try {
      for await (const event of engine.chat(this.#messages(id), { ...this.options, signal })) {
        const turn = this.#change(id, take(this.#turn(id), event, clock));
        this.#host.happened(event, turn);
        if (signal.aborted) break;
      }
      if (this.#turn(id).state === "done") return;
      if (!signal.aborted) throw new AloudError("internal", "the answer ended without its `done` event; ask again");
      this.#stopped(id, clock);
    } catch (thrown) {
      const error = toAloudError(thrown);
      if (error.code === "aborted" || signal.aborted) return this.#stopped(id, clock);
      const turn = this.#change(id, { state: "failed", error, notice: "", read: null, ...thoughtTime(clock) });
      this.#host.happened({ type: "failed" }, turn);
    }
  }

  #stopped(id: number, clock: Clock): void {
    const time = this.#turn(id).state === "thinking" ? thoughtTime(clock) : {};
    const turn = this.#change(id, { state: "stopped", notice: "", read: null, ...time });
    this.#host.happened({ type: "stopped" }, turn);
  }

  #turn(id: number): Turn {
    return this.turns.find((turn) => turn.id === id)!;
  }

  #change(id: number, change: Partial<Turn>): Turn {
    this.turns = this.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn));
    this.#host.changed();
    return this.#turn(id);
  }

  /** What the model is told: turns that have an answer, without their thoughts, and the question. */
  #messages(id: number): ChatMessage[] {
    const messages: ChatMessage[] = [];
    for (const turn of this.turns) {
      if (turn.id === id) return [...messages, { role: "user", content: turn.question }];
      if (!turn.answer || this.single) continue;
      messages.push({ role: "user", content: turn.question }, { role: "assistant", content: turn.answer });
    }
    return messages;
  }
}

/** Times of a run in milliseconds; 0: not yet. */
interface Clock {
  first: number;
  thoughtFrom: number;
}

function thoughtTime(clock: Clock): Partial<Turn> {
  return clock.thoughtFrom ? { thoughtMs: performance.now() - clock.thoughtFrom } : {};
}

/** What an event changes in a turn. */
function take(turn: Turn, event: ChatEvent, clock: Clock): Partial<Turn> {
  switch (event.type) {
    case "prefill":
      return { read: { done: event.done, total: event.total } };
    case "reasoning":
      clock.thoughtFrom ||= performance.now();
      return {
        ...counted(turn, clock),
        state: "thinking",
        thought: turn.thought + event.text,
        thoughtTokens: turn.thoughtTokens + 1,
      };
    case "answer": {
      const time = turn.state === "thinking" ? thoughtTime(clock) : {};
      const answer = turn.answer + event.text;
      return { ...counted(turn, clock), ...time, state: "answering", answer, answerTokens: turn.answerTokens + 1 };
    }
    case "device-lost":
      return { notice: "The GPU went away. Loading again; the answer will go on." };
    case "device-restored":
      return { notice: "The GPU is back." };
    case "done": {
      const { usage, timings } = event;
      const thoughtTokens = usage.completion_tokens_details.reasoning_tokens;
      const answerTokens = usage.completion_tokens - thoughtTokens;
      const time = turn.state === "thinking" ? thoughtTime(clock) : {};
      const rate = timings.decode_tokens_per_second;
      const end = { state: "done", finish: event.finish_reason, notice: "", read: null } as const;
      return { ...end, ...time, usage, timings, rate, thoughtTokens, answerTokens };
    }
    case "logprobs":
      return {};
  }
}

function counted(turn: Turn, clock: Clock): Partial<Turn> {
  clock.first ||= performance.now();
  const seconds = (performance.now() - clock.first) / 1000;
  const rate = seconds > 0.5 ? (turn.thoughtTokens + turn.answerTokens) / seconds : 0;
  return { rate, read: null, notice: "" };
}
