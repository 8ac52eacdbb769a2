/** `<aloud-markdown>`: a text of a model, drawn as safe DOM nodes, also while it grows. */
import { html, LitElement, type PropertyValues } from "lit";
import { patchAt } from "./markdown/patch.ts";
import type { PlanElement } from "./markdown/node.ts";
import { mathStyles, prose } from "./markdown/styles.ts";
import { MarkdownStream } from "./markdown/stream.ts";
import { copyText } from "./clipboard.ts";
import { nextFrame } from "./frame.ts";
import { controls, tokens } from "./theme.ts";

const SLOW_MS = 25;

export class AloudMarkdown extends LitElement {
  static override properties = { text: {}, live: { type: Boolean } };
  static override styles = [tokens, controls, prose, mathStyles];

  /** Markdown with TeX. */
  declare text: string;
  /** The text may go on. */
  declare live: boolean;

  #stream = new MarkdownStream();
  #drawn: PlanElement[] = [];
  #drawMs = 0;

  constructor() {
    super();
    this.text = "";
    this.live = false;
  }

  /** Many tokens of one frame are drawn once; a text that takes long is drawn less often. */
  protected override async scheduleUpdate(): Promise<void> {
    if (this.hasUpdated && this.live) await nextFrame();
    if (this.live && this.#drawMs > SLOW_MS) await new Promise((resolve) => setTimeout(resolve, 4 * this.#drawMs));
    await super.scheduleUpdate();
  }

  protected override render() {
    return html`<div class="prose" @click=${this.#onClick}></div>`;
  }

  protected override updated(changed: PropertyValues): void {
    if (!changed.has("text") && !changed.has("live")) return;
    const began = performance.now();
    const parent = this.renderRoot.querySelector(".prose")!;
    const blocks = this.#stream.update(this.text, this.live);
    blocks.forEach((block, i) => {
      if (block !== this.#drawn[i]) patchAt(parent, block, i);
    });
    while (parent.childNodes.length > blocks.length) parent.lastChild!.remove();
    this.#drawn = blocks;
    this.#drawMs = performance.now() - began;
  }

  #onClick(event: Event): void {
    const button = (event.target as Element).closest<HTMLButtonElement>("button.copy");
    const code = button?.closest("figure")?.querySelector("code")?.textContent;
    if (!button || typeof code !== "string") return;
    void copyText(code).then((copied) => {
      button.firstChild!.nodeValue = copied ? "Copied" : "Not copied";
      setTimeout(() => (button.firstChild!.nodeValue = "Copy"), 1600);
    });
  }
}
