/**
 * `<aloud-turn>`: a question and what came of it. Fires `turn-again` to have the answer made anew, and `turn-edit` with
 * the new question as `detail`.
 */
import { html, LitElement, nothing } from "lit";
import { copyText } from "./clipboard.ts";
import type { Turn } from "./conversation.ts";
import { formatDuration, formatRate, formatTokens } from "./format.ts";
import { icons } from "./icons.ts";
import { turnStyles } from "./turn-styles.ts";
import { controls, problem, tokens } from "./theme.ts";

export class AloudTurn extends LitElement {
  static override properties = {
    turn: { attribute: false },
    locked: { type: Boolean },
    last: { type: Boolean },
    editing: { state: true },
    copied: { state: true },
  };
  static override styles = [tokens, controls, problem, turnStyles];

  declare turn: Turn;
  /** There is no engine to ask again. */
  declare locked: boolean;
  declare last: boolean;
  declare editing: boolean;
  declare copied: "" | "Copied" | "Not copied";

  constructor() {
    super();
    this.locked = false;
    this.last = false;
    this.editing = false;
    this.copied = "";
  }

  protected override render() {
    return html`
      <article aria-label="Question and answer">
        ${this.editing ? this.#editor() : this.#question()} ${this.#thought()} ${this.#answer()} ${this.#outcome()}
        ${this.#tools()}
      </article>
    `;
  }

  get #running(): boolean {
    return ["waiting", "thinking", "answering"].includes(this.turn.state);
  }

  #question() {
    return html`<div class="asked">
      <h2 class="unseen">You asked</h2>
      <button class="quiet edit" aria-label="Edit the question" title="Edit" @click=${this.#edit}>${icons.edit}</button>
      <p class="question">${this.turn.question}</p>
    </div>`;
  }

  #editor() {
    return html`<form class="editor" @submit=${this.#save} @keydown=${this.#onEditKey}>
      <textarea aria-label="The question" rows="2" .value=${this.turn.question}></textarea>
      <div class="row">
        ${this.last ? nothing : html`<span class="hint">What came after it is dropped.</span>`}
        <button type="button" class="pill" @click=${this.#cancel}>Cancel</button>
        <button class="pill strong">Ask again</button>
      </div>
    </form>`;
  }

  #thought() {
    const { thought, state, thoughtTokens, thoughtMs } = this.turn;
    if (!thought && state !== "thinking") return nothing;
    return html`<aloud-thought
      .text=${thought}
      .tokens=${thoughtTokens}
      .ms=${thoughtMs}
      ?live=${state === "thinking"}
    ></aloud-thought>`;
  }

  #answer() {
    const { answer, state } = this.turn;
    if (!answer) return nothing;
    return html`<section class="answer" aria-labelledby="answer">
      <h2 id="answer" class="unseen">Answer</h2>
      <aloud-markdown .text=${answer} ?live=${state === "answering"}></aloud-markdown>
    </section>`;
  }

  /** What is said of a turn besides its text. */
  #outcome() {
    const { state, error, notice, read, finish, answer } = this.turn;
    if (error) {
      return html`<div class="error">
        ${icons.warn}
        <div>
          <p class="message">${error.message}</p>
          <button class="pill" ?disabled=${this.locked} @click=${this.#again}>${icons.again}Try again</button>
        </div>
      </div>`;
    }
    if (notice) return html`<p class="notice">${notice}</p>`;
    if (state === "waiting") {
      const part = read && read.total > read.done ? ` ${Math.floor((100 * read.done) / read.total)} %` : "";
      return html`<p class="notice waiting">${this.locked ? "Waiting for the model" : `Reading${part}`}</p>`;
    }
    if (state === "stopped")
      return html`<p class="notice">${answer ? "Stopped here." : "Stopped before an answer."}</p>`;
    if (finish === "length") return html`<p class="notice">Cut off: the model's room for this answer was full.</p>`;
    if (state === "done" && !answer) return html`<p class="notice">The model gave no answer.</p>`;
    return nothing;
  }

  #tools() {
    const { answer, rate, state } = this.turn;
    if (this.#running) {
      return html`<div class="tools"><span class="facts">${rate > 0 ? formatRate(rate) : nothing}</span></div>`;
    }
    const label = this.copied || "Copy";
    return html`<div class="tools">
      ${
        answer
          ? html`<button class="quiet" @click=${this.#copy}>
            ${this.copied === "Copied" ? icons.done : icons.copy}<span aria-live="polite">${label}</span>
          </button>`
          : nothing
      }
      ${
        state === "failed"
          ? nothing
          : html`<button class="quiet" ?disabled=${this.locked} @click=${this.#again}>${icons.again}Regenerate</button>`
      }
      <span class="facts">${this.#facts()}</span>
    </div>`;
  }

  #facts(): string {
    const { timings, usage, rate } = this.turn;
    if (!timings || !usage) return "";
    const first = `first token after ${formatDuration(timings.time_to_first_token_ms)}`;
    return [formatTokens(usage.completion_tokens), formatRate(rate), first].join(" · ");
  }

  #again(): void {
    this.dispatchEvent(new Event("turn-again"));
  }

  async #edit(): Promise<void> {
    this.editing = true;
    await this.updateComplete;
    const area = this.renderRoot.querySelector("textarea")!;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  async #cancel(): Promise<void> {
    this.editing = false;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLButtonElement>(".edit")!.focus();
  }

  #onEditKey(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      void this.#cancel();
    } else if (event.key === "Enter" && !event.shiftKey && event.target instanceof HTMLTextAreaElement) {
      this.#save(event);
    }
  }

  #save(event: Event): void {
    event.preventDefault();
    const text = this.renderRoot.querySelector("textarea")!.value.trim();
    if (!text || this.locked) return;
    this.editing = false;
    this.dispatchEvent(new CustomEvent("turn-edit", { detail: text }));
  }

  async #copy(): Promise<void> {
    this.copied = (await copyText(this.turn.answer)) ? "Copied" : "Not copied";
    setTimeout(() => (this.copied = ""), 1600);
  }
}
