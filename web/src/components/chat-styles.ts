/** How a chat is laid out: turns in one column that scrolls, and the composer at its foot. */
import { css } from "lit";

export const chatStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    position: relative;
    height: 100%;
    min-height: 0;
    color: var(--_ink);
    background: var(--_paper);
    font: 1rem/1.5 var(--_ui);
    color-scheme: light dark;
    -webkit-text-size-adjust: 100%;
  }
  :host([theme="light"]) {
    color-scheme: light;
  }
  :host([theme="dark"]) {
    color-scheme: dark;
  }
  .log {
    flex: 1;
    min-height: 0;
    overflow-y: auto;
    overflow-x: hidden;
    scrollbar-color: var(--_line) transparent;
    scrollbar-width: thin;
  }
  .log:focus-visible {
    outline-offset: -3px;
  }
  .column {
    width: 100%;
    max-width: calc(var(--_measure) + 2.5rem);
    margin: 0 auto;
    padding: 0 1.25rem;
  }
  .log .column {
    display: flex;
    flex-direction: column;
    gap: 2.25rem;
    min-height: 100%;
    padding-block: 1.5rem;
  }
  .dock {
    position: relative;
    flex: none;
    padding-top: 0.25rem;
    padding-bottom: max(0.5rem, env(safe-area-inset-bottom));
  }
  .dock::before {
    content: "";
    position: absolute;
    inset: -1.5rem 1rem auto 0;
    height: 1.5rem;
    background: linear-gradient(transparent, var(--_paper));
    pointer-events: none;
  }
  .latest {
    position: absolute;
    left: 50%;
    bottom: calc(100% + 0.5rem);
    transform: translateX(-50%);
    box-shadow: 0 2px 10px rgb(0 0 0 / 0.12);
  }
  .empty {
    margin: auto 0;
    padding-block: 1rem;
  }
  .suggestions {
    margin: 0;
    padding: 0;
    list-style: none;
    border-top: 1px solid var(--_line);
  }
  .suggestions li {
    border-bottom: 1px solid var(--_line);
  }
  .suggestions button {
    display: grid;
    grid-template-columns: 10rem minmax(0, 1fr) auto;
    align-items: baseline;
    gap: 0.25rem 1rem;
    width: 100%;
    padding: 0.875rem 0;
  }
  .suggestions .title {
    font: 500 0.8125rem/1.4 var(--_ui);
    color: var(--_accent);
  }
  .suggestions .prompt {
    font: 1.0625rem/1.45 var(--_reading);
    font-variant-numeric: lining-nums;
    color: var(--_ink);
  }
  .suggestions svg {
    align-self: center;
    color: var(--_quiet);
    transition: transform 0.15s ease;
  }
  @media (hover: hover) {
    .suggestions button:not(:disabled):hover svg {
      color: var(--_accent);
      transform: translateX(3px);
    }
    .suggestions button:not(:disabled):hover .prompt {
      color: var(--_accent);
    }
  }
  @media (prefers-reduced-motion: reduce) {
    .suggestions svg {
      transition: none;
    }
  }
  .chips {
    display: flex;
    gap: 0.375rem;
    margin: 0 -0.125rem 0.5rem;
    padding: 0.125rem;
    list-style: none;
    overflow-x: auto;
    scrollbar-width: none;
  }
  .chips .pill {
    min-height: 2rem;
    border-color: var(--_line);
    font-weight: 400;
    white-space: nowrap;
  }
  .loading {
    margin: 0 0.5rem 0.625rem;
  }
  .error {
    margin-bottom: 0.75rem;
    padding-bottom: 1rem;
  }
  .heading {
    margin: 0;
    font-weight: 600;
  }
  .message {
    margin: 0.125rem 0 0.75rem;
    overflow-wrap: anywhere;
  }
  .message::first-letter {
    text-transform: uppercase;
  }
  @media (min-width: 52rem) {
    .log {
      scrollbar-gutter: stable both-edges;
    }
  }
  @media (max-width: 36rem) {
    .suggestions button {
      grid-template-columns: minmax(0, 1fr) auto;
    }
    .suggestions .title,
    .suggestions .prompt {
      grid-column: 1;
    }
    .suggestions svg {
      grid-column: 2;
      grid-row: 1 / span 2;
    }
  }
  @media (max-width: 30rem) {
    .column {
      padding-inline: 1rem;
    }
    .dock .column {
      padding-inline: 0.625rem;
    }
  }
`;
