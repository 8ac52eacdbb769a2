/** What is drawn of a model's text: a tree of plain values, of elements and attributes from closed lists alone. */

/** Text, or an element. */
export type Plan = string | PlanElement;

export interface PlanElement {
  tag: string;
  attrs: Readonly<Record<string, string>>;
  children: readonly Plan[];
}

/** An element of a plan. */
export function el(tag: string, attrs: Record<string, string>, ...children: Plan[]): PlanElement {
  return { tag, attrs, children };
}

/** The HTML elements that a model's text can become, and the attributes of each. */
const HTML: Record<string, readonly string[]> = {
  p: [],
  h3: [],
  h4: [],
  h5: [],
  h6: [],
  ul: [],
  ol: ["start"],
  li: [],
  blockquote: [],
  figure: ["class"],
  figcaption: [],
  pre: ["tabindex"],
  code: [],
  strong: [],
  em: [],
  del: [],
  br: [],
  hr: [],
  div: ["class", "tabindex", "role", "aria-label"],
  span: ["class"],
  table: [],
  thead: [],
  tbody: [],
  tr: [],
  th: ["class", "scope"],
  td: ["class"],
  a: ["href", "target", "rel"],
  button: ["type", "class", "aria-label"],
};

const LAYOUT = ["class", "displaystyle", "scriptlevel", "mathcolor", "mathbackground", "mathvariant"];

/** The MathML elements, and their attributes besides `LAYOUT`. */
const MATHML: Record<string, readonly string[]> = {
  math: ["display"],
  menclose: ["notation"],
  merror: [],
  mfrac: ["linethickness"],
  mi: [],
  mmultiscripts: [],
  mn: [],
  mo: [
    ...["fence", "form", "largeop", "lspace", "maxsize", "minsize", "movablelimits", "rspace", "separator"],
    ...["stretchy", "symmetric", "accent"],
  ],
  mover: ["accent"],
  mpadded: ["depth", "height", "lspace", "voffset", "width"],
  mphantom: [],
  mprescripts: [],
  mroot: [],
  mrow: [],
  ms: [],
  mspace: ["depth", "height", "width", "linebreak"],
  msqrt: [],
  mstyle: ["mathsize"],
  msub: [],
  msubsup: [],
  msup: [],
  mtable: ["columnalign", "columnspacing", "rowspacing", "columnlines", "rowlines"],
  mtd: ["columnalign", "columnspan", "rowspan"],
  mtext: [],
  mtr: [],
  munder: ["accentunder"],
  munderover: ["accent", "accentunder"],
  none: [],
};

export const MATHML_NAMESPACE = "http://www.w3.org/1998/Math/MathML";

/** Whether an element may be made. */
export function isAllowedTag(tag: string): boolean {
  return Object.hasOwn(HTML, tag) || Object.hasOwn(MATHML, tag);
}

export function isMathTag(tag: string): boolean {
  return Object.hasOwn(MATHML, tag);
}

/** Whether an element may have an attribute of this value. */
export function isAllowedAttribute(tag: string, name: string, value: string): boolean {
  if (isMathTag(tag)) return LAYOUT.includes(name) || MATHML[tag]!.includes(name);
  if (!Object.hasOwn(HTML, tag) || !HTML[tag]!.includes(name)) return false;
  return name !== "href" || safeLink(value) !== null;
}

/** The address of a link one may follow: absolute, http or https, without a user's name in it. Null for any other. */
export function safeLink(href: string): URL | null {
  if (href.length > 2048 || !/^https?:\/\//i.test(href)) return null;
  try {
    const url = new URL(href);
    const plain = (url.protocol === "http:" || url.protocol === "https:") && !url.username && !url.password;
    return plain ? url : null;
  } catch {
    return null;
  }
}

/** The text of a plan, as a screen reader may say it. */
export function planText(plan: Plan): string {
  if (typeof plan === "string") return plan;
  if (plan.tag === "br") return "\n";
  if (plan.tag === "button") return "";
  const gap = ["li", "tr", "p", "td", "th", "div"].includes(plan.tag) ? " " : "";
  return plan.children.map(planText).join("") + gap;
}
