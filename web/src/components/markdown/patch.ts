/** Plans become DOM nodes here and nowhere else; what is there already and fits is kept. */
import { isAllowedAttribute, isAllowedTag, isMathTag, MATHML_NAMESPACE, type Plan, type PlanElement } from "./node.ts";

/** Makes the children of `parent` those of the plans, touching only what differs. */
export function patchChildren(parent: Element, plans: readonly Plan[]): void {
  plans.forEach((plan, i) => patchAt(parent, plan, i));
  while (parent.childNodes.length > plans.length) parent.lastChild!.remove();
}

/** Makes the child of `parent` at `index` that of the plan. */
export function patchAt(parent: Element, plan: Plan, index: number): void {
  const old = parent.childNodes[index];
  if (typeof plan === "string") return patchText(parent, old, plan);
  if (old instanceof Element && old.localName === plan.tag) {
    patchAttributes(old, plan);
    return patchChildren(old, plan.children);
  }
  const made = create(plan);
  if (old) old.replaceWith(made);
  else parent.append(made);
}

/** Text grows at its end, so that a selection in it stays. */
function patchText(parent: Element, old: ChildNode | undefined, text: string): void {
  if (!(old instanceof Text)) {
    const made = document.createTextNode(text);
    if (old) old.replaceWith(made);
    else parent.append(made);
  } else if (old.data !== text) {
    if (text.startsWith(old.data)) old.appendData(text.slice(old.data.length));
    else old.data = text;
  }
}

/** An element that is not on the list becomes its text. */
function create(plan: PlanElement): ChildNode {
  if (!isAllowedTag(plan.tag)) {
    const span = document.createElement("span");
    patchChildren(span, plan.children);
    return span;
  }
  const made = isMathTag(plan.tag)
    ? document.createElementNS(MATHML_NAMESPACE, plan.tag)
    : document.createElement(plan.tag);
  patchAttributes(made, plan);
  patchChildren(made, plan.children);
  return made;
}

function patchAttributes(element: Element, plan: PlanElement): void {
  for (const { name } of [...element.attributes]) {
    if (!Object.hasOwn(plan.attrs, name)) element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(plan.attrs)) {
    const wanted = isAllowedAttribute(plan.tag, name, value);
    if (wanted && element.getAttribute(name) !== value) element.setAttribute(name, value);
    else if (!wanted) element.removeAttribute(name);
  }
}
