/** How answers are set: in the reading face, on one measure. */
import { css } from "lit";

export const prose = css`
  :host {
    display: block;
    font: 1.0625rem/1.62 var(--_reading);
    color: var(--_ink);
    overflow-wrap: anywhere;
    font-variant-numeric: lining-nums;
  }
  .prose > * {
    margin: 0 0 0.85em;
  }
  .prose > :last-child {
    margin-bottom: 0;
  }
  h3,
  h4,
  h5,
  h6 {
    font: 600 1.0625rem/1.35 var(--_ui);
    letter-spacing: -0.005em;
  }
  .prose > :is(h3, h4, h5, h6) {
    margin: 1.5em 0 0.5em;
  }
  .prose > :is(h3, h4, h5, h6):first-child {
    margin-top: 0;
  }
  h3 {
    font-size: 1.1875rem;
  }
  h5,
  h6 {
    font-size: 0.9375rem;
    color: var(--_quiet);
  }
  p {
    white-space: pre-line;
  }
  li > p,
  blockquote > * {
    margin: 0 0 0.5em;
  }
  ul,
  ol {
    padding-left: 1.5em;
  }
  li > :is(ul, ol) {
    margin: 0.25em 0;
  }
  li {
    margin: 0.2em 0;
  }
  li::marker {
    color: var(--_quiet);
  }
  blockquote {
    padding-left: 1em;
    border-left: 2px solid var(--_line);
    color: var(--_quiet);
  }
  blockquote > :last-child {
    margin-bottom: 0;
  }
  hr {
    border: 0;
    border-top: 1px solid var(--_line);
    margin: 1.5em 0;
  }
  a {
    color: var(--_accent);
    text-decoration-thickness: 1px;
    text-underline-offset: 0.2em;
    unicode-bidi: isolate;
  }
  .host {
    font: 0.8em var(--_ui);
    unicode-bidi: isolate;
  }
  code {
    font: 0.86em/1.5 var(--_code);
    padding: 0.1em 0.3em;
    border-radius: 0.3em;
    background: var(--_tint);
    white-space: pre-wrap;
  }
  .code {
    border: 1px solid var(--_line);
    border-radius: 0.6rem;
    background: var(--_raised);
    overflow: hidden;
  }
  .code figcaption {
    display: flex;
    align-items: center;
    justify-content: space-between;
    padding: 0.125rem 0.25rem 0 0.875rem;
    font: 0.75rem/1 var(--_ui);
    color: var(--_quiet);
  }
  .code .copy {
    min-height: 2rem;
    padding: 0 0.6rem;
    border-radius: 0.4rem;
  }
  @media (hover: hover) {
    .code .copy:hover {
      color: var(--_ink);
      background: var(--_tint);
    }
  }
  .code pre {
    margin: 0;
    padding: 0.25rem 0.875rem 0.8rem;
    overflow-x: auto;
    overflow-wrap: normal;
  }
  .code code {
    padding: 0;
    background: none;
    white-space: pre;
    font-size: 0.8125rem;
    line-height: 1.6;
  }
  .table {
    overflow-x: auto;
  }
  table {
    border-collapse: collapse;
    font: 0.9375rem/1.45 var(--_ui);
    font-variant-numeric: tabular-nums lining-nums;
    overflow-wrap: normal;
  }
  th,
  td {
    padding: 0.4rem 1.1rem 0.4rem 0;
    border-bottom: 1px solid var(--_line);
    text-align: left;
    vertical-align: baseline;
  }
  th {
    font-weight: 600;
  }
  .center {
    text-align: center;
  }
  .right {
    text-align: right;
  }
`;

/** MathML without inline styles: the part of Temml's style sheet that R1's formulas need. */
export const mathStyles = css`
  math {
    font-family: "Cambria Math", "STIX Two Math", "Latin Modern Math", "TeX Gyre Termes Math", "Noto Sans Math", math;
    font-size: 1.06em;
    line-height: normal;
    text-indent: 0;
    direction: ltr;
  }
  math * {
    border-color: currentColor;
  }
  math.tml-display {
    display: block math;
    width: 100%;
  }
  .display {
    overflow-x: auto;
    overflow-y: hidden;
    padding: 0.15em 0;
    overflow-wrap: normal;
  }
  .pending {
    font: 0.86em/1.5 var(--_code);
    color: var(--_quiet);
    white-space: pre-wrap;
  }
  mfrac > :nth-child(2),
  msqrt,
  mover > :first-child {
    math-shift: compact;
  }
  mtd {
    padding: 0.3ex 0.4em;
  }
  .boxed,
  .tml-fbox {
    padding: 0.25em 0.4em;
    border: 1px solid var(--_accent);
    border-radius: 0.3em;
  }
  .bold {
    font-weight: bold;
  }
  .tml-left {
    text-align: left;
  }
  .tml-right {
    text-align: right;
  }
  .rule-top {
    border-top: 0.06em solid;
  }
  .rule-right {
    border-right: 0.06em solid;
  }
  .rule-bottom,
  .tml-underline {
    border-bottom: 0.06em solid;
  }
  .rule-left {
    border-left: 0.06em solid;
  }
  .tml-overline {
    border-top: 0.065em solid;
  }
  menclose {
    position: relative;
    display: inline-block;
    padding: 0.5ex 0;
  }
  .tml-cancel {
    position: absolute;
    inset: 0;
    background: currentColor;
  }
  .upstrike {
    clip-path: polygon(0.05em 100%, 0 calc(100% - 0.05em), calc(100% - 0.05em) 0, 100% 0.05em);
  }
  .downstrike,
  .tml-xcancel {
    clip-path: polygon(0 0.05em, 0.05em 0, 100% calc(100% - 0.05em), calc(100% - 0.05em) 100%);
  }
  .sout {
    clip-path: inset(calc(50% - 0.03em) 0);
  }
`;
