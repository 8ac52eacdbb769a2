/**
 * `<aloud-thought>`: what a model thinks before it answers. Folded at first, with its length and time; while it is
 * being thought its last line is seen. Fires `aloud-answer-now` when the user has waited enough.
 */
import { css, html, LitElement, nothing } from "lit";
import { formatDuration, formatTokens } from "./format.ts";
import { nextFrame } from "./frame.ts";
import { icons } from "./icons.ts";
import { controls, tokens } from "./theme.ts";

const LAST_LINE_CHARS = 160;

export class AloudThought extends LitElement {
  static override properties = {
    text: {},
    tokens: { type: Number },
    ms: { type: Number },
    live: { type: Boolean, reflect: true },
    open: { type: Boolean, reflect: true },
  };

  /** The thought, as written: no Markdown. */
  declare text: string;
  /** Its length. 0: not known. */
  declare tokens: number;
  /** How long it took; while `live`, counted from when it began. */
  declare ms: number;
  /** It is being thought. */
  declare live: boolean;
  /** Unfolded. */
  declare open: boolean;

  #began = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    super();
    this.text = "";
    this.tokens = 0;
    this.ms = 0;
    this.live = false;
    this.open = false;
  }

  protected override async scheduleUpdate(): Promise<void> {
    if (this.hasUpdated && this.live) await nextFrame();
    await super.scheduleUpdate();
  }

  protected override willUpdate(): void {
    if (this.live && this.#timer === undefined) {
      this.#began = performance.now() - this.ms;
      this.#timer = setInterval(() => this.requestUpdate(), 500);
    } else if (!this.live) {
      this.#endTimer();
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#endTimer();
  }

  #endTimer(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  protected override render() {
    const ms = this.live ? Math.floor((performance.now() - this.#began) / 1000) * 1000 : this.ms;
    const time = this.live ? `${formatDuration(ms).replace(".0", "")}` : formatDuration(ms);
    const title = this.live ? "Thinking" : `Thought for ${time}`;
    const facts = [this.live && ms >= 1000 ? time : "", this.tokens ? formatTokens(this.tokens) : ""];
    return html`
      <div class="bar">
        <button class="fold" aria-expanded=${this.open} aria-controls="body" @click=${this.#toggle}>
          ${icons.chevron}<span class="title">${title}</span>
          <span class="facts">${facts.filter(Boolean).map((fact) => html`<span> · ${fact}</span>`)}</span>
        </button>
        ${
          this.live
            ? html`<button class="pill now" @click=${this.#answerNow}>${icons.skip}Answer now</button>`
            : nothing
        }
      </div>
      ${this.live && !this.open
        ? html`<div class="last" aria-hidden="true"><span>${this.#lastLine()}</span></div>`
        : nothing}
      <div id="body" role="region" aria-label="Thought" aria-live="off" ?hidden=${!this.open}>
        ${this.open ? html`<p>${this.text.trim()}</p>` : nothing}
      </div>
    `;
  }

  #lastLine(): string {
    const lines = this.text
      .slice(-2 * LAST_LINE_CHARS)
      .trimEnd()
      .split("\n");
    return lines.at(-1)!.slice(-LAST_LINE_CHARS);
  }

  #toggle(): void {
    this.open = !this.open;
  }

  #answerNow(): void {
    this.dispatchEvent(new Event("aloud-answer-now", { bubbles: true, composed: true }));
  }

  static override styles = [
    tokens,
    controls,
    css`
      :host {
        display: block;
        color: var(--_quiet);
        font-variant-numeric: tabular-nums lining-nums;
      }
      .bar {
        display: flex;
        align-items: center;
        justify-content: space-between;
        gap: 0.5rem;
        min-height: 2.25rem;
      }
      .fold {
        display: flex;
        align-items: center;
        gap: 0.375rem;
        min-height: 2.25rem;
        min-width: 0;
        margin-left: -0.25rem;
        padding: 0 0.5rem 0 0.25rem;
        border-radius: 0.5rem;
        font: 0.8125rem/1.3 var(--_ui);
      }
      .fold svg {
        transition: transform 0.15s ease;
      }
      :host([open]) .fold svg {
        transform: rotate(90deg);
      }
      .title {
        font-weight: 500;
      }
      :host([open]) {
        margin-bottom: 0.5rem;
      }
      :host([live]) .title {
        color: var(--_accent);
        animation: breathe 2.4s ease-in-out infinite;
      }
      .facts {
        overflow-wrap: anywhere;
      }
      .now {
        flex: none;
        min-height: 2rem;
        padding: 0 0.75rem;
        background: none;
        border-color: var(--_line);
      }
      @media (hover: hover) {
        .fold:hover {
          color: var(--_ink);
        }
      }
      .last,
      #body {
        margin: 0.125rem 0 0 0.25rem;
        padding-left: 1rem;
        border-left: 1px solid var(--_line);
        font: italic 0.9375rem/1.6 var(--_reading);
      }
      .last {
        height: 1.6em;
        overflow: hidden;
        white-space: nowrap;
        display: flex;
        justify-content: flex-end;
        mask-image: linear-gradient(90deg, #000 1px, transparent 1px, #000 1rem);
      }
      .last span {
        flex: none;
        min-width: 100%;
      }
      #body p {
        margin: 0;
        padding: 0.125rem 0;
        white-space: pre-wrap;
        overflow-wrap: anywhere;
        max-width: 38rem;
      }
      @keyframes breathe {
        50% {
          opacity: 0.65;
        }
      }
      @media (prefers-reduced-motion: reduce) {
        :host([live]) .title {
          animation: none;
        }
        .fold svg {
          transition: none;
        }
      }
    `,
  ];
}
