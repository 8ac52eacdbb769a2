/**
 * The look of all components. A page sets the custom properties `--aloud-*`; what it does not set is as here.
 * `light-dark()` follows `color-scheme`, which `<aloud-chat theme="dark">` or the page's own style decides.
 */
import { css } from "lit";

export const tokens = css`
  :host {
    --_paper: var(--aloud-paper, light-dark(#faf7f1, #1a1815));
    --_raised: var(--aloud-raised, light-dark(#fffefb, #242119));
    --_tint: var(--aloud-tint, light-dark(#f1ebe0, #2a261f));
    --_ink: var(--aloud-ink, light-dark(#28231c, #ece5d8));
    --_quiet: var(--aloud-quiet, light-dark(#6d6353, #a89d8b));
    --_line: var(--aloud-line, light-dark(#e5dccc, #3a352b));
    --_edge: var(--aloud-edge, light-dark(#8f8472, #857b6b));
    --_accent: var(--aloud-accent, light-dark(#24594b, #92c7b1));
    --_on-accent: var(--aloud-on-accent, light-dark(#fdfbf6, #11241d));
    --_danger: var(--aloud-danger, light-dark(#98301f, #f19a88));
    --_reading: var(
      --aloud-font-reading,
      "Iowan Old Style", "Palatino Linotype", Palatino, Charter, "Bitstream Charter", Georgia, "Liberation Serif", serif
    );
    --_ui: var(--aloud-font-ui, system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif);
    --_code: var(
      --aloud-font-code,
      ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "Liberation Mono", monospace
    );
    --_measure: var(--aloud-measure, 43rem);
    --_radius: var(--aloud-radius, 0.75rem);
  }
  :host([hidden]) {
    display: none;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
`;

/** Buttons, fields, focus, and text for screen readers alone. */
export const controls = css`
  button {
    font: inherit;
    color: inherit;
    background: none;
    border: 0;
    padding: 0;
    margin: 0;
    cursor: pointer;
    text-align: inherit;
    -webkit-tap-highlight-color: transparent;
  }
  button:disabled {
    cursor: default;
  }
  :focus-visible {
    outline: 2px solid var(--_accent);
    outline-offset: 2px;
    border-radius: 0.375rem;
  }
  textarea {
    margin: 0;
    border: 0;
    outline: 0;
    resize: none;
    field-sizing: content;
    color: var(--_ink);
    background: none;
  }
  textarea:focus-visible {
    outline: 0;
  }
  .quiet {
    display: inline-flex;
    align-items: center;
    gap: 0.375rem;
    min-height: 2rem;
    padding: 0 0.5rem;
    border-radius: 0.5rem;
    font: 0.8125rem/1.2 var(--_ui);
    color: var(--_quiet);
  }
  .pill {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.375rem;
    min-height: 2.25rem;
    padding: 0 0.9rem;
    border: 1px solid var(--_edge);
    border-radius: 2rem;
    font: 500 0.8125rem/1.2 var(--_ui);
    color: var(--_ink);
    background: var(--_raised);
  }
  .pill.strong {
    border-color: var(--_accent);
    background: var(--_accent);
    color: var(--_on-accent);
  }
  .pill:disabled {
    opacity: 0.5;
  }
  @media (hover: hover) {
    .quiet:hover {
      color: var(--_ink);
      background: var(--_tint);
    }
    .pill:not(:disabled, .strong):hover {
      border-color: var(--_ink);
    }
    .pill.strong:not(:disabled):hover {
      background: color-mix(in oklab, var(--_accent), var(--_ink) 18%);
    }
  }
  svg {
    width: 1em;
    height: 1em;
    flex: none;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.6;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .unseen {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
`;

/** What went wrong, in a box. */
export const problem = css`
  .error {
    display: flex;
    gap: 0.75rem;
    padding: 0.875rem 1rem;
    border: 1px solid color-mix(in oklab, var(--_danger), transparent 65%);
    border-radius: var(--_radius);
    background: color-mix(in oklab, var(--_danger), var(--_paper) 94%);
    font: 0.875rem/1.5 var(--_ui);
  }
  .error > svg {
    margin-top: 0.125rem;
    font-size: 1.125rem;
    color: var(--_danger);
  }
  .error > div {
    min-width: 0;
  }
`;
