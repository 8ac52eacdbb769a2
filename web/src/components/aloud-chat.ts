/**
 * `<aloud-chat>`: a conversation with an `Engine`. Give it `engine` once it is loaded, and before that `progress` and
 * `error` of the loading. Fires `aloud-retry` when the user wants the loading tried again, and `aloud-done` after each
 * answer.
 */
import { html, LitElement, nothing, type PropertyValues } from "lit";
import { repeat } from "lit/directives/repeat.js";
import type { AloudComposer } from "./aloud-composer.ts";
import { chatStyles } from "./chat-styles.ts";
import { Conversation, type ConversationHost, type Turn } from "./conversation.ts";
import { nextFrame } from "./frame.ts";
import { icons } from "./icons.ts";
import { Speaker } from "./speaker.ts";
import { controls, problem, tokens } from "./theme.ts";
import type { ChatOptions, Engine, Progress } from "../types.ts";

/** A question that is one click away. */
export interface Suggestion {
  title: string;
  prompt: string;
}

/** An answer that is through is laid out by then. */
const SETTLE_MS = 500;
/** Pixels from the end at which the view still counts as being there. */
const NEAR_END_PX = 48;

export class AloudChat extends LitElement {
  static override properties = {
    engine: { attribute: false },
    progress: { attribute: false },
    error: { attribute: false },
    suggestions: { attribute: false },
    options: { attribute: false },
    single: { type: Boolean },
    name: {},
    placeholder: {},
    theme: { reflect: true },
    atEnd: { state: true },
    said: { state: true },
  };
  static override styles = [tokens, controls, problem, chatStyles];

  declare engine: Engine | null;
  declare progress: Progress | null;
  declare error: Error | null;
  declare suggestions: readonly Suggestion[];
  declare options: ChatOptions;
  /** Every question goes to the model alone, without the turns before it: for models that know no conversations. */
  declare single: boolean;
  /** What is loading, for people. */
  declare name: string;
  declare placeholder: string;
  /** `light` or `dark`; without it, as the system has it. */
  declare theme: "light" | "dark" | null;
  declare atEnd: boolean;
  declare said: readonly string[];

  #conversation: Conversation;
  #speaker = new Speaker((said) => (this.said = said));
  #resized: ResizeObserver | null = null;
  #top = 0;
  /** An answer is being written, or its last lines are being laid out. */
  #growing = false;
  #focused: Element | null = null;

  constructor() {
    super();
    this.engine = null;
    this.progress = null;
    this.error = null;
    this.suggestions = [];
    this.options = {};
    this.single = false;
    this.name = "";
    this.placeholder = "Ask something";
    this.theme = null;
    this.atEnd = true;
    this.said = [];
    const host: ConversationHost = {
      changed: () => this.requestUpdate(),
      happened: (event, turn) => this.#happened(event.type, turn),
    };
    this.#conversation = new Conversation(host);
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.addEventListener("aloud-answer-now", () => this.#conversation.answerNow());
  }

  /** The turns so far. */
  get turns(): readonly Turn[] {
    return this.#conversation.turns;
  }

  /** Asks a question; before the engine is there, it waits for it. */
  async ask(question: string): Promise<void> {
    this.atEnd = true;
    this.#speaker.clear();
    await this.#conversation.ask(question);
  }

  async stop(): Promise<void> {
    await this.#conversation.stop();
  }

  /** Begins a new conversation. */
  async clear(): Promise<void> {
    this.#speaker.clear();
    await this.#conversation.clear();
    this.focus();
  }

  override focus(options?: FocusOptions): void {
    this.renderRoot.querySelector<AloudComposer>("aloud-composer")?.focus(options);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#resized?.disconnect();
    this.#resized = null;
    void this.#conversation.stop();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("options")) this.#conversation.options = this.options;
    if (changed.has("single")) this.#conversation.single = this.single;
    if (changed.has("engine")) this.#conversation.engine = this.engine;
    if (this.#focused?.isConnected !== false) this.#focused = this.#deepFocus();
  }

  protected override render() {
    const { turns, running } = this.#conversation;
    return html`
      <div class="log" role="log" aria-live="off" aria-label="Conversation" tabindex="0" @scroll=${this.#onScroll}>
        <div class="column">
          ${
            turns.length
              ? repeat(
                  turns,
                  (turn) => turn.id,
                  (turn) => this.#turn(turn),
                )
              : this.#empty()
          }
        </div>
      </div>
      <div class="dock">
        ${
          this.atEnd
            ? nothing
            : html`<button class="latest pill" @click=${this.#toEnd}>${icons.down}<span>Latest</span></button>`
        }
        <div class="column">
          ${turns.length && !running ? this.#chips() : nothing} ${this.#loading()}
          <aloud-composer
            .placeholder=${this.placeholder}
            ?running=${running}
            ?disabled=${this.error !== null}
            @composer-send=${(event: CustomEvent<string>) => this.ask(event.detail)}
            @composer-stop=${this.#onStop}
          ></aloud-composer>
          <slot name="foot"></slot>
        </div>
      </div>
      <div class="unseen" role="status" aria-live="polite" aria-atomic="false">
        ${this.said.map((text) => html`<p>${text}</p>`)}
      </div>
    `;
  }

  #turn(turn: Turn) {
    return html`<aloud-turn
      .turn=${turn}
      ?locked=${!this.engine}
      ?last=${turn === this.turns.at(-1)}
      @turn-again=${() => this.#again(turn.id)}
      @turn-edit=${(event: CustomEvent<string>) => this.#again(turn.id, event.detail)}
    ></aloud-turn>`;
  }

  #empty() {
    return html`<div class="empty">
      <slot name="empty"></slot>
      ${
        this.suggestions.length
          ? html`<ul class="suggestions" aria-label="Examples">
            ${this.suggestions.map(({ title, prompt }) => this.#suggestion(title, prompt))}
          </ul>`
          : nothing
      }
    </div>`;
  }

  #suggestion(title: string, prompt: string) {
    return html`<li>
      <button ?disabled=${this.error !== null} @click=${() => this.#choose(prompt)}>
        <span class="title">${title}</span><span class="prompt">${prompt}</span>${icons.chevron}
      </button>
    </li>`;
  }

  /** Suggestions that were not taken yet stay at hand. */
  #chips() {
    const asked = new Set(this.turns.map((turn) => turn.question));
    const left = this.suggestions.filter(({ prompt }) => !asked.has(prompt));
    if (!left.length || this.error) return nothing;
    return html`<ul class="chips" aria-label="Examples">
      ${left.map(
        ({ title, prompt }) =>
          html`<li><button class="pill" title=${prompt} @click=${() => this.#choose(prompt)}>${title}</button></li>`,
      )}
    </ul>`;
  }

  #loading() {
    if (this.error) {
      return html`<div class="error" role="alert">
        ${icons.warn}
        <div>
          <p class="heading">The model did not load</p>
          <p class="message">${this.error.message}</p>
          <button class="pill" @click=${this.#retry}>${icons.again}Try again</button>
        </div>
      </div>`;
    }
    if (this.engine || !this.progress) return nothing;
    return html`<aloud-progress class="loading" .name=${this.name} .progress=${this.progress}></aloud-progress>`;
  }

  protected override firstUpdated(): void {
    this.#watch();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.#watch();
  }

  /** Answers grow in parts of their own, so the view follows the size of the column. */
  #watch(): void {
    this.#resized = new ResizeObserver(() => this.#follow());
    this.#resized.observe(this.renderRoot.querySelector(".log .column")!);
    this.#resized.observe(this.renderRoot.querySelector(".log")!);
  }

  /** What has the focus in this element, in whatever part of it. */
  #deepFocus(): Element | null {
    let found = this.shadowRoot!.activeElement;
    while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
    return found;
  }

  /** Whoever had the focus on something that is gone goes on writing. */
  async #keepFocus(): Promise<void> {
    await nextFrame();
    await nextFrame(); // Parts of a turn that runs are drawn with the first.
    if (!this.#focused || this.#focused.isConnected) return;
    this.#focused = null;
    if (document.activeElement === document.body || document.activeElement === this) this.focus();
  }

  get #log(): HTMLElement {
    return this.renderRoot.querySelector<HTMLElement>(".log")!;
  }

  #follow(): void {
    if (this.atEnd && this.#growing) this.#log.scrollTop = this.#log.scrollHeight;
  }

  #toEnd(): void {
    this.atEnd = true;
    this.#log.scrollTop = this.#log.scrollHeight;
    this.focus({ preventScroll: true });
  }

  /** Scrolling up leaves the end, scrolling to it returns there. */
  #onScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const near = scrollHeight - clientHeight - scrollTop < NEAR_END_PX;
    if (near) this.atEnd = true;
    else if (scrollTop < this.#top) this.atEnd = false;
    this.#top = scrollTop;
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.isComposing || !this.#conversation.running) return;
    event.preventDefault();
    this.#onStop();
  }

  #onStop(): void {
    void this.stop();
    this.focus();
  }

  #choose(prompt: string): void {
    void this.ask(prompt);
    this.focus();
  }

  #again(id: number, question?: string): void {
    this.#speaker.clear();
    this.atEnd = true;
    void this.#conversation.askAgain(id, question);
    this.focus();
  }

  #retry(): void {
    this.dispatchEvent(new Event("aloud-retry"));
    this.focus();
  }

  #happened(type: Parameters<ConversationHost["happened"]>[0]["type"], turn: Turn): void {
    this.#speaker.hear(type, turn);
    void this.#keepFocus();
    if (type === "asked") this.#growing = true;
    else if (!this.#conversation.running) setTimeout(() => (this.#growing = this.#conversation.running), SETTLE_MS);
    if (type === "done") this.dispatchEvent(new Event("aloud-done"));
  }
}
