/** Icons of 16 units, drawn with the colour of the text around them. */
import { html, svg, type SVGTemplateResult, type TemplateResult } from "lit";

const draw = (content: SVGTemplateResult): TemplateResult =>
  html`<svg viewBox="0 0 16 16" aria-hidden="true">${content}</svg>`;

export const icons = {
  chevron: draw(svg`<path d="m6 4 4 4-4 4"/>`),
  send: draw(svg`<path d="M8 13V3.5M3.8 7.5 8 3.3l4.2 4.2"/>`),
  stop: draw(svg`<rect x="4" y="4" width="8" height="8" rx="1.2" fill="currentColor" stroke="none"/>`),
  copy: draw(
    svg`<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/>
      <path d="M10.5 3.5v-.5a1.5 1.5 0 0 0-1.5-1.5H4A1.5 1.5 0 0 0 2.5 3v5A1.5 1.5 0 0 0 4 9.5h.5"/>`,
  ),
  done: draw(svg`<path d="m3 8.5 3.2 3.2L13 4.8"/>`),
  again: draw(svg`<path d="M13.2 8A5.2 5.2 0 1 1 11.6 4.3L13.2 5.9"/><path d="M13.2 2.7v3.2H10"/>`),
  edit: draw(
    svg`<path d="M9.8 3.7 12.3 6.2M3 13l.6-2.9 7.3-7.3a1.2 1.2 0 0 1 1.7 0l.6.6a1.2 1.2 0 0 1 0 1.7
      L5.9 12.4 3 13Z"/>`,
  ),
  skip: draw(svg`<path d="M3 4l5 4-5 4zM12.5 4v8"/>`),
  down: draw(svg`<path d="M8 3v9.5M3.8 8.5 8 12.7l4.2-4.2"/>`),
  warn: draw(svg`<path d="M8 2.5 14 13H2L8 2.5ZM8 6.5v3M8 11.3v.1"/>`),
};
