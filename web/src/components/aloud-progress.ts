/** `<aloud-progress>`: how far the loading of a model is, with bytes, speed and time left. */
import { css, html, LitElement, nothing } from "lit";
import type { Progress } from "../types.ts";
import { describeProgress } from "./format.ts";
import { tokens } from "./theme.ts";

export class AloudProgress extends LitElement {
  static override properties = { progress: { attribute: false }, name: {} };
  static override styles = [
    tokens,
    css`
      :host {
        display: block;
        font: 0.8125rem/1.45 var(--_ui);
        color: var(--_quiet);
        font-variant-numeric: tabular-nums;
      }
      .title {
        display: block;
        color: var(--_ink);
        font-weight: 500;
        overflow-wrap: anywhere;
      }
      .detail {
        display: block;
        min-height: 1.45em;
      }
      progress {
        appearance: none;
        display: block;
        width: 100%;
        height: 4px;
        margin: 0.5rem 0 0.45rem;
        border: 0;
        border-radius: 4px;
        overflow: hidden;
        background: var(--_line);
      }
      progress::-webkit-progress-bar {
        background: var(--_line);
      }
      progress::-webkit-progress-value {
        background: var(--_accent);
        border-radius: 4px;
      }
      progress::-moz-progress-bar {
        background: var(--_accent);
        border-radius: 4px;
      }
      progress:indeterminate {
        background: linear-gradient(90deg, var(--_line) 30%, var(--_accent) 50%, var(--_line) 70%) 0 0 / 200% 100%;
        animation: pass 1.8s linear infinite;
      }
      progress:indeterminate::-webkit-progress-bar {
        background: none;
      }
      progress:indeterminate::-moz-progress-bar {
        background: none;
      }
      @keyframes pass {
        from {
          background-position: 200% 0;
        }
        to {
          background-position: 0 0;
        }
      }
      @media (prefers-reduced-motion: reduce) {
        progress:indeterminate {
          animation: none;
        }
      }
    `,
  ];

  declare progress: Progress | null;
  /** What is loading, for people. */
  declare name: string;

  constructor() {
    super();
    this.progress = null;
    this.name = "";
  }

  protected override render() {
    if (!this.progress) return nothing;
    const { loaded, total } = this.progress;
    const { title, detail } = describeProgress(this.progress);
    const label = this.name ? `${title}: ${this.name}` : title;
    const known = total > 0;
    return html`
      <span class="title">${this.name ? html`${title} <span>${this.name}</span>` : title}</span>
      ${
        known
          ? html`<progress aria-label=${label} max=${total} .value=${Math.min(loaded, total)}></progress>`
          : html`<progress aria-label=${label}></progress>`
      }
      <span class="detail">${detail}</span>
    `;
  }
}
