/** A text that grows, as a list of blocks of which those far from its end are read once. */
import { el, type PlanElement } from "./node.ts";
import { blockPlan, lexBlocks } from "./plan.ts";

/** Blocks at the end that more text may still change. */
const OPEN_BLOCKS = 3;
const MAX_CHARS = 400_000;

export class MarkdownStream {
  #settled = "";
  #settledBlocks: PlanElement[] = [];

  /** The blocks of `text`; those that did not change are the same objects as before. `live`: more may follow. */
  update(text: string, live: boolean): PlanElement[] {
    const source = text.replace(/\r\n?/g, "\n");
    if (source.length > MAX_CHARS) return [el("p", {}, source)];
    if (!live || !source.startsWith(this.#settled)) {
      this.#settled = "";
      this.#settledBlocks = [];
    }
    const open = source.slice(this.#settled.length);
    try {
      const tokens = lexBlocks(open, live);
      const plans = tokens.map((token) => blockPlan(token));
      const blocks = [...this.#settledBlocks, ...plans.filter((plan) => plan !== null)];
      if (live) this.#settle(tokens, plans);
      return blocks;
    } catch {
      return [...this.#settledBlocks, el("p", {}, open)]; // Nested beyond what marked can read.
    }
  }

  /** What lies before a blank line and some blocks away from the end does not change any more. */
  #settle(tokens: readonly { type: string; raw: string }[], plans: readonly (PlanElement | null)[]): void {
    for (let i = tokens.length - OPEN_BLOCKS - 1; i >= 0; i--) {
      if (tokens[i]!.type !== "space") continue;
      const done = tokens.slice(0, i + 1);
      this.#settled += done.map((token) => token.raw).join("");
      this.#settledBlocks.push(...plans.slice(0, i + 1).filter((plan) => plan !== null));
      return;
    }
  }
}
