/** TeX to a plan of MathML, by Temml; without inline styles, links or anything else that TeX can smuggle in. */
import temml from "temml";
import { el, isAllowedAttribute, isAllowedTag, isMathTag, type Plan } from "./node.ts";

/** What Temml builds: an element, a fragment (without a type) or text. */
interface TemmlNode {
  type?: string;
  text?: string;
  attributes?: Record<string, unknown>;
  classes?: string[];
  style?: Record<string, unknown>;
  children?: TemmlNode[];
}

const MAX_TEX_CHARS = 8000;
/** Formulas that are kept: while an answer is written its last block is read again with each token. */
const MAX_KNOWN = 400;
const MAX_DEPTH = 120;
const COLOUR = /^(#[0-9a-f]{3,8}|[a-z]{3,24})$/i;

const known = new Map<string, Plan>();

/** A formula, or its source where Temml does not understand it. */
export function texPlan(tex: string, display: boolean): Plan {
  const key = `${display} ${tex}`;
  const plan = known.get(key) ?? makePlan(tex, display);
  if (known.size >= MAX_KNOWN) known.delete(known.keys().next().value!);
  known.set(key, plan);
  return plan;
}

function makePlan(tex: string, display: boolean): Plan {
  const source = el("code", {}, tex);
  if (tex.length > MAX_TEX_CHARS) return source;
  try {
    const options = { displayMode: display, throwOnError: true, trust: false, maxSize: [10, 10], maxExpand: 200 };
    const tree = (temml.__renderToMathMLTree as (tex: string, options: object) => TemmlNode)(tex, options);
    const plans = convert(tree, 0);
    return plans.length === 1 ? plans[0]! : el("span", { class: "math" }, ...plans);
  } catch {
    return source;
  }
}

/** An element of Temml's that is no MathML (a raised box is a span) stands for its children. */
function convert(node: TemmlNode, depth: number): Plan[] {
  if (depth > MAX_DEPTH) throw new RangeError("a formula nested too deeply");
  if (node.text !== undefined) return [node.text];
  const children = (node.children ?? []).flatMap((child) => convert(child, depth + 1));
  const tag = node.type;
  if (!tag || !isAllowedTag(tag) || !isMathTag(tag)) return children;
  const attrs: Record<string, string> = {};
  for (const [name, value] of Object.entries(node.attributes ?? {})) {
    if (isAllowedAttribute(tag, name, String(value))) attrs[name] = String(value);
  }
  const classes = [...(node.classes ?? []), ...styleClasses(node.style ?? {})];
  const names = classes.filter((name) => /^[\w-]+$/.test(name));
  if (names.length) attrs.class = names.join(" ");
  const colour = String(node.style?.color ?? "");
  if (COLOUR.test(colour)) attrs.mathcolor = colour;
  return [el(tag, attrs, ...children)];
}

/** The few inline styles of Temml's that matter, as classes of our style sheet. */
function styleClasses(style: Record<string, unknown>): string[] {
  const classes: string[] = [];
  if (style.border) classes.push("boxed");
  if (style.textAlign === "left") classes.push("tml-left");
  if (style.fontWeight === "bold") classes.push("bold");
  for (const side of ["Top", "Right", "Bottom", "Left"]) {
    if (style[`border${side}`]) classes.push(`rule-${side.toLowerCase()}`);
  }
  return classes;
}
