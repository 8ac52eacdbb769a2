/** Markdown to plans: marked reads the text into tokens, and every kind of token has its plan here. */
import { Marked, type MarkedExtension, type Token, type Tokens } from "marked";
import { texPlan } from "./math.ts";
import { el, safeLink, type Plan, type PlanElement } from "./node.ts";
import { maskTex, texAt, texBlockAt, texStart, type TexSpan } from "./tex.ts";

const MAX_DEPTH = 40;

interface MathToken extends TexSpan {
  type: "math";
}

/** `live`: the text may go on, so that a formula may be open at its end. */
function extension(live: boolean): MarkedExtension {
  const token = (span: TexSpan | undefined): MathToken | undefined => span && { type: "math", ...span };
  const blockStart = (src: string) => {
    const index = src.search(/(?:^|\n) {0,3}(?:\\\[|\$\$)/);
    return index < 0 ? undefined : index;
  };
  return {
    gfm: true,
    extensions: [
      { name: "math", level: "block", start: blockStart, tokenizer: (src) => token(texBlockAt(src, live)) },
      { name: "math", level: "inline", start: texStart, tokenizer: (src) => token(texAt(src, live)) },
    ],
    // Tags and definitions of links are text like any other.
    tokenizer: { html: () => undefined, tag: () => undefined, def: () => undefined },
    hooks: { emStrongMask: maskTex },
  };
}

const FINAL = new Marked(extension(false));
const LIVE = new Marked(extension(true));

/** The blocks of a text, each with its source. */
export function lexBlocks(text: string, live: boolean): Token[] {
  return (live ? LIVE : FINAL).lexer(text);
}

/** The plan of one block, or null for the space between two. */
export function blockPlan(token: Token, depth = 0): PlanElement | null {
  if (depth > MAX_DEPTH) return el("p", {}, token.raw);
  switch (token.type) {
    case "space":
      return null;
    case "heading":
      return el(`h${Math.min(6, (token as Tokens.Heading).depth + 2)}`, {}, ...inlines(token.tokens, depth));
    case "paragraph":
    case "text":
      return el("p", {}, ...textOf(token, depth));
    case "code":
      return codePlan(token as Tokens.Code);
    case "blockquote":
      return el("blockquote", {}, ...blocks(token.tokens, depth));
    case "list":
      return listPlan(token as Tokens.List, depth);
    case "table":
      return tablePlan(token as Tokens.Table, depth);
    case "hr":
      return el("hr", {});
    case "math":
      return mathPlan(token as MathToken);
    default:
      return el("p", {}, token.raw);
  }
}

function blocks(tokens: Token[] | undefined, depth: number): PlanElement[] {
  return (tokens ?? []).map((token) => blockPlan(token, depth + 1)).filter((plan) => plan !== null);
}

function textOf(token: Token, depth: number): Plan[] {
  const inner = "tokens" in token ? token.tokens : undefined;
  return inner ? inlines(inner, depth) : [decodeEntities("text" in token ? String(token.text) : token.raw)];
}

function codePlan(token: Tokens.Code): PlanElement {
  const language = /^[\w+#.-]{1,20}/.exec(token.lang ?? "")?.[0] ?? "";
  const copy = el("button", { type: "button", class: "copy", "aria-label": "Copy code" }, "Copy");
  const bar = el("figcaption", {}, el("span", { class: "language" }, language), copy);
  return el("figure", { class: "code" }, bar, el("pre", { tabindex: "0" }, el("code", {}, token.text)));
}

/** `42.` alone is an answer, not the first item of a list. */
function listPlan(token: Tokens.List, depth: number): PlanElement {
  if (token.items.length === 1 && !token.items[0]!.text.trim()) return el("p", {}, token.raw.trim());
  const start: Record<string, string> = token.ordered && Number(token.start) !== 1 ? { start: `${token.start}` } : {};
  const items = token.items.map((item) => el("li", {}, ...itemPlans(item, depth)));
  return el(token.ordered ? "ol" : "ul", start, ...items);
}

/** In a tight list text stands in its item without a paragraph. */
function itemPlans(item: Tokens.ListItem, depth: number): Plan[] {
  return item.tokens.flatMap((token): Plan[] => {
    if (token.type === "checkbox") return [(token as Tokens.Checkbox).checked ? "☑ " : "☐ "];
    if (token.type === "text" && !item.loose) return textOf(token, depth + 1);
    const plan = blockPlan(token, depth + 1);
    return plan ? [plan] : [];
  });
}

function tablePlan(token: Tokens.Table, depth: number): PlanElement {
  const cell = (tag: string, attrs: Record<string, string>) => (cell: Tokens.TableCell) =>
    el(tag, { ...attrs, ...(cell.align ? { class: cell.align } : {}) }, ...inlines(cell.tokens, depth));
  const head = el("thead", {}, el("tr", {}, ...token.header.map(cell("th", { scope: "col" }))));
  const rows = token.rows.map((row) => el("tr", {}, ...row.map(cell("td", {}))));
  const table = el("table", {}, head, el("tbody", {}, ...rows));
  return el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

function mathPlan(token: MathToken): PlanElement {
  const inner = token.pending ? el("span", { class: "pending" }, token.raw) : texPlan(token.tex, true);
  return el("div", { class: "display" }, inner);
}

function inlines(tokens: Token[] | undefined, depth: number): Plan[] {
  if (depth > MAX_DEPTH) return (tokens ?? []).map((token) => token.raw);
  return merge((tokens ?? []).flatMap((token) => inlinePlan(token, depth + 1)));
}

function inlinePlan(token: Token, depth: number): Plan[] {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return [el(token.type, {}, ...inlines(token.tokens, depth))];
    case "codespan":
      return [el("code", {}, (token as Tokens.Codespan).text)];
    case "br":
      return [el("br", {})];
    case "link":
      return linkPlan(token as Tokens.Link, depth);
    case "image": {
      const image = token as Tokens.Image;
      return [decodeEntities(image.text || image.raw)];
    }
    case "escape":
      return [(token as Tokens.Escape).text];
    case "math": {
      const math = token as MathToken;
      return [math.pending ? el("span", { class: "pending" }, math.raw) : texPlan(math.tex, math.display)];
    }
    default:
      return textOf(token, depth);
  }
}

/** A link shows where it leads; one that may not be followed is its own source. */
function linkPlan(token: Tokens.Link, depth: number): Plan[] {
  const url = safeLink(token.autolink ? token.href : decodeEntities(token.href));
  if (!url) return [token.raw];
  const shown = token.autolink ? [token.text] : inlines(token.tokens, depth);
  const attrs = { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" };
  const plain = shown.length === 1 && shown[0] === url.href.slice(0, String(shown[0]).length);
  const whole = plain && String(shown[0]).length >= url.origin.length;
  return [el("a", attrs, ...shown, ...(whole ? [] : [el("span", { class: "host" }, ` (${url.host})`)]))];
}

/** Neighbouring texts as one, so that the DOM has one node for them. */
function merge(plans: Plan[]): Plan[] {
  const merged: Plan[] = [];
  for (const plan of plans) {
    const last = merged.at(-1);
    if (typeof plan === "string" && typeof last === "string") merged[merged.length - 1] = last + plan;
    else merged.push(plan);
  }
  return merged;
}

const ENTITIES: Record<string, string> = {
  ...{ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", times: "×", divide: "÷", minus: "−" },
  ...{ plusmn: "±", deg: "°", middot: "·", hellip: "…", ndash: "–", mdash: "—", le: "≤", ge: "≥", ne: "≠" },
  ...{ rarr: "→", larr: "←", infin: "∞", pi: "π", radic: "√", copy: "©", euro: "€" },
};

/** Character references as Markdown has them; an unknown one stays as it is. */
export function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name]! : whole;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    const scalar = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return scalar ? String.fromCodePoint(code) : "\ufffd";
  });
}
