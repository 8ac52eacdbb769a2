/**
 * What a screen reader is told: that the model thinks, how long it did, and the answer by paragraphs as they are
 * through. Not the tokens of a thought.
 */
import type { Turn } from "./conversation.ts";
import { formatDuration } from "./format.ts";
import { planText } from "./markdown/node.ts";
import { MarkdownStream } from "./markdown/stream.ts";

/** Lines that the live region keeps. */
const KEPT = 30;

export class Speaker {
  #said: string[] = [];
  #state = "";
  #spoken = 0;
  #notice = "";
  #tell: (said: readonly string[]) => void;

  /** `tell` puts the lines into a live region. */
  constructor(tell: (said: readonly string[]) => void) {
    this.#tell = tell;
  }

  clear(): void {
    this.#said = [];
    this.#tell([]);
  }

  /** Something of `type` happened to `turn`. */
  hear(type: string, turn: Turn): void {
    if (type === "asked") this.#begin();
    if (turn.state !== this.#state) {
      if (turn.state === "thinking") this.#say("Thinking.");
      if (turn.state === "answering" && turn.thought) this.#say(`Thought for ${formatDuration(turn.thoughtMs)}.`);
      this.#state = turn.state;
    }
    if (turn.notice !== this.#notice) {
      this.#notice = turn.notice;
      this.#say(turn.notice);
    }
    if (type === "answer") this.#speakTo(turn.answer, turn.answer.lastIndexOf("\n\n"));
    if (type === "done" || type === "stopped") this.#speakTo(turn.answer, turn.answer.length);
    if (type === "stopped") this.#say("Stopped.");
    if (type === "failed") this.#say(`Failed: ${turn.error?.message ?? ""}`);
  }

  #begin(): void {
    this.#state = "";
    this.#spoken = 0;
    this.#notice = "";
  }

  /** Says the answer from where it was left to `end`. */
  #speakTo(answer: string, end: number): void {
    if (end <= this.#spoken) return;
    const plans = new MarkdownStream().update(answer.slice(this.#spoken, end), false);
    this.#spoken = end;
    this.#say(plans.map(planText).join(" "));
  }

  #say(text: string): void {
    const line = text.replace(/\s+/g, " ").trim();
    if (!line) return;
    this.#said = [...this.#said, line].slice(-KEPT);
    this.#tell(this.#said);
  }
}
