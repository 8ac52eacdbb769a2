/** Finds TeX in a text: `\( \)`, `\[ \]`, `$$ $$`, `$ $` where it can be no price, and `\boxed{}` on its own. */

export interface TexSpan {
  /** With its delimiters. */
  raw: string;
  tex: string;
  display: boolean;
  /** Not closed yet; it may be while the text is being written. */
  pending: boolean;
}

/** Not over a blank line: a formula has none. */
const BODY = "((?:(?!\\n[ \\t]*\\n)[\\s\\S])+?)";
const CLOSED: readonly { open: string; pattern: RegExp; display: boolean }[] = [
  { open: "\\(", pattern: new RegExp(`^\\\\\\(${BODY}\\\\\\)`), display: false },
  { open: "\\[", pattern: new RegExp(`^\\\\\\[${BODY}\\\\\\]`), display: true },
  { open: "$$", pattern: new RegExp(`^\\$\\$${BODY}\\$\\$`), display: true },
];
/** As Pandoc has it: no space inside the signs, no digit behind them. */
const DOLLARS = /^\$(?![\s$])((?:\\[\s\S]|[^$\\\n])*?[^\s\\$])\$(?![\d$])/;
const BOXED = "\\boxed{";
/** A formula on lines of its own, with the stop that may end the sentence. */
const BLOCK_END = /^([.,;:]?)[ \t]*(?:\n|$)/;
const START = /\\[([]|\$|\\boxed\{/;

/** Where TeX may begin in `text`, or undefined. */
export function texStart(text: string): number | undefined {
  const index = text.search(START);
  return index < 0 ? undefined : index;
}

/** The TeX that `text` begins with. `live` also takes what is not closed at the end of the text. */
export function texAt(text: string, live: boolean): TexSpan | undefined {
  for (const { open, pattern, display } of CLOSED) {
    if (!text.startsWith(open)) continue;
    const match = pattern.exec(text);
    if (match) return { raw: match[0], tex: match[1]!.trim(), display, pending: false };
    return live ? pendingTex(text, open.length, display) : undefined;
  }
  if (text.startsWith(BOXED)) return boxedAt(text, live);
  const match = DOLLARS.exec(text);
  return match ? { raw: match[0], tex: match[1]!, display: false, pending: false } : undefined;
}

/** A display formula that `text` begins with and that has its lines for itself. */
export function texBlockAt(text: string, live: boolean): TexSpan | undefined {
  const indent = /^ {0,3}(?=\\\[|\$\$)/.exec(text)?.[0];
  if (indent === undefined) return undefined;
  const span = texAt(text.slice(indent.length), live);
  if (!span) return undefined;
  const raw = indent + span.raw;
  if (span.pending) return { ...span, raw };
  const end = BLOCK_END.exec(text.slice(raw.length));
  return end ? { ...span, raw: raw + end[0], tex: span.tex + end[1]! } : undefined;
}

function pendingTex(text: string, skip: number, display: boolean): TexSpan | undefined {
  if (/\n[ \t]*\n/.test(text)) return undefined;
  return { raw: text, tex: text.slice(skip).trim(), display, pending: true };
}

/** `\boxed{...}` to the brace that closes it. */
function boxedAt(text: string, live: boolean): TexSpan | undefined {
  let depth = 0;
  for (let i = BOXED.length - 1; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") i += 1;
    else if (c === "{") depth += 1;
    else if (c === "}" && --depth === 0) {
      const raw = text.slice(0, i + 1);
      return { raw, tex: raw, display: false, pending: false };
    }
  }
  return live ? pendingTex(text, 0, false) : undefined;
}

/** `text` with every formula replaced by as many `a`, for what looks for signs outside of formulas. */
export function maskTex(text: string): string {
  let masked = "";
  for (let rest = text; ;) {
    const start = texStart(rest);
    if (start === undefined) return masked + rest;
    const span = rest[start - 1] === "\\" ? undefined : texAt(rest.slice(start), false);
    const length = span?.raw.length ?? 1;
    masked += rest.slice(0, start) + (span ? "a".repeat(length) : rest.slice(start, start + 1));
    rest = rest.slice(start + length);
  }
}
