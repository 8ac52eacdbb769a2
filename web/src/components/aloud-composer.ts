/**
 * `<aloud-composer>`: where a question is written. Enter sends, Shift+Enter is a new line. Fires `composer-send` with
 * the text as `detail`, and `composer-stop`.
 */
import { css, html, LitElement } from "lit";
import { icons } from "./icons.ts";
import { controls, tokens } from "./theme.ts";

export class AloudComposer extends LitElement {
  static override properties = {
    running: { type: Boolean },
    disabled: { type: Boolean },
    placeholder: {},
    value: { state: true },
  };

  /** An answer is under way: the button stops it. */
  declare running: boolean;
  declare disabled: boolean;
  declare placeholder: string;
  declare value: string;

  constructor() {
    super();
    this.running = false;
    this.disabled = false;
    this.placeholder = "";
    this.value = "";
  }

  override focus(options?: FocusOptions): void {
    this.renderRoot.querySelector("textarea")?.focus(options);
  }

  protected override render() {
    const empty = !this.value.trim();
    return html`
      <form class="box" @submit=${this.#onSubmit}>
        <textarea
          rows="1"
          aria-label="Your question"
          aria-describedby="keys"
          autocomplete="off"
          enterkeyhint="send"
          placeholder=${this.placeholder}
          .value=${this.value}
          @input=${this.#onInput}
          @keydown=${this.#onKey}
        ></textarea>
        <span id="keys" class="unseen">Enter sends, Shift and Enter makes a new line, Escape stops an answer.</span>
        ${
          this.running
            ? html`<button type="button" class="act stop" aria-label="Stop" title="Stop (Esc)" @click=${this.#stop}>
              ${icons.stop}
            </button>`
            : html`<button
              type="submit"
              class="act"
              aria-label="Send"
              title="Send (Enter)"
              ?disabled=${empty || this.disabled}
            >
              ${icons.send}
            </button>`
        }
      </form>
    `;
  }

  protected override updated(): void {
    const area = this.renderRoot.querySelector("textarea")!;
    if (CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }

  #onInput(event: Event): void {
    this.value = (event.target as HTMLTextAreaElement).value;
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#send();
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    this.#send();
  }

  /** Not while an answer is under way: what is written waits. */
  #send(): void {
    const text = this.value.trim();
    if (!text || this.running || this.disabled) return;
    this.value = "";
    this.dispatchEvent(new CustomEvent("composer-send", { detail: text }));
  }

  #stop(): void {
    this.dispatchEvent(new Event("composer-stop"));
  }

  static override styles = [
    tokens,
    controls,
    css`
      :host {
        display: block;
      }
      .box {
        display: flex;
        align-items: flex-end;
        gap: 0.5rem;
        margin: 0;
        padding: 0.4375rem;
        border: 1px solid var(--_edge);
        border-radius: 1.5rem;
        background: var(--_raised);
      }
      .box:focus-within {
        border-color: var(--_accent);
        box-shadow: 0 0 0 1px var(--_accent);
      }
      textarea {
        flex: 1;
        min-width: 0;
        min-height: 2.25rem;
        max-height: min(40vh, 16rem);
        padding: 0.4375rem 0.25rem 0.4375rem 0.75rem;
        font: 1rem/1.375 var(--_ui);
      }
      textarea::placeholder {
        color: var(--_quiet);
        opacity: 1;
      }
      .act {
        display: grid;
        place-items: center;
        flex: none;
        width: 2.25rem;
        height: 2.25rem;
        border-radius: 50%;
        font-size: 1.125rem;
        color: var(--_on-accent);
        background: var(--_accent);
      }
      .act:disabled {
        color: var(--_quiet);
        background: var(--_tint);
      }
      .act.stop {
        color: var(--_paper);
        background: var(--_ink);
      }
      .act:focus-visible {
        border-radius: 50%;
      }
      @media (forced-colors: active) {
        .act {
          border: 1px solid;
        }
      }
    `,
  ];
}
