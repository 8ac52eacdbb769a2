/** How a turn is set: the question as a slip of paper at the right, the answer as the text of the page. */
import { css } from "lit";

export const turnStyles = css`
  :host {
    display: block;
  }
  article {
    display: grid;
    gap: 0.5rem;
    grid-template-columns: minmax(0, 1fr);
  }
  .asked {
    display: flex;
    align-items: center;
    justify-content: flex-end;
    gap: 0.25rem;
    margin-bottom: 0.375rem;
  }
  .question {
    max-width: min(85%, 34rem);
    margin: 0;
    padding: 0.625rem 0.9375rem;
    border-radius: 1.125rem 1.125rem 0.25rem;
    background: var(--_tint);
    font: 0.9375rem/1.5 var(--_ui);
    color: var(--_ink);
    white-space: pre-wrap;
    overflow-wrap: anywhere;
  }
  .edit {
    justify-content: center;
    width: 2rem;
    padding: 0;
    font-size: 0.9375rem;
  }
  @media (hover: hover) {
    .edit {
      opacity: 0;
    }
    .asked:hover .edit,
    .edit:focus-visible {
      opacity: 1;
    }
  }
  .editor {
    margin: 0 0 0.375rem;
    padding: 0.75rem;
    border: 1px solid var(--_accent);
    border-radius: var(--_radius);
    background: var(--_raised);
  }
  .editor textarea {
    display: block;
    width: 100%;
    max-height: 40vh;
    padding: 0.25rem;
    font: 1rem/1.5 var(--_ui);
  }
  .row {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: flex-end;
    gap: 0.5rem;
    margin-top: 0.5rem;
  }
  .hint {
    flex: 1 1 9rem;
    padding-left: 0.25rem;
    font: 0.8125rem/1.4 var(--_ui);
    color: var(--_quiet);
  }
  .answer {
    margin-top: 0.25rem;
  }
  .notice {
    margin: 0.25rem 0 0;
    font: 0.8125rem/1.5 var(--_ui);
    color: var(--_quiet);
  }
  .waiting::after {
    content: "…";
  }
  .message {
    margin: 0 0 0.75rem;
    overflow-wrap: anywhere;
  }
  .message::first-letter {
    text-transform: uppercase;
  }
  .tools {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    min-height: 2rem;
    margin-left: -0.5rem;
  }
  .facts {
    padding: 0 0.5rem;
    font: 0.8125rem/1.4 var(--_ui);
    color: var(--_quiet);
    font-variant-numeric: tabular-nums;
  }
  .tools button + .facts {
    flex: 1 1 auto;
    padding-right: 0;
    text-align: right;
  }
  @media (max-width: 30rem) {
    .tools button + .facts {
      text-align: left;
    }
  }
`;
