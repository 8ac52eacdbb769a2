/**
 * `<models-panel>`: choosing a model, and what is stored of models on this device. Fires `choose` with a `Choice`.
 * Draws into the page, so that its style sheet holds here.
 */
import { html, LitElement, nothing } from "lit";
import { formatBytes, formatRate } from "../src/components/format.ts";
import { deleteModel, listModels, probe, storageEstimate, type StoredModel, type Verdict } from "./aloud.ts";
import { CHOICES, nameOf, ownChoice, type Choice } from "./choices.ts";

const WORDS: Record<Verdict["verdict"], string> = { ok: "Runs here", tight: "Tight here", no: "Not here" };

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class ModelsPanel extends LitElement {
  static override properties = {
    running: {},
    verdicts: { state: true },
    unknown: { state: true },
    stored: { state: true },
    use: { state: true },
    problem: { state: true },
  };

  /** The name of the model that runs or loads. */
  declare running: string;
  declare verdicts: ReadonlyMap<Choice, Verdict>;
  /** Why there is no verdict. */
  declare unknown: ReadonlyMap<Choice, string>;
  declare stored: readonly StoredModel[] | null;
  declare use: { usage: number; quota: number } | null;
  declare problem: string;

  constructor() {
    super();
    this.running = "";
    this.verdicts = new Map();
    this.unknown = new Map();
    this.stored = null;
    this.use = null;
    this.problem = "";
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  /** Opens the sheet, and looks at the storage and at what this device makes of the models. */
  async show(): Promise<void> {
    this.problem = "";
    this.querySelector("dialog")!.showModal();
    await Promise.all([this.#look(), this.#probeAll()]);
  }

  /** One after the other, because the GPU is measured; until the sheet is closed. */
  async #probeAll(): Promise<void> {
    const abort = new AbortController();
    this.querySelector("dialog")!.addEventListener("close", () => abort.abort(), { once: true });
    for (const choice of CHOICES) {
      if (abort.signal.aborted) return;
      if (!this.verdicts.has(choice)) await this.#probe(choice, abort.signal);
    }
  }

  async #probe(choice: Choice, signal: AbortSignal): Promise<void> {
    try {
      this.verdicts = new Map([...this.verdicts, [choice, await probe(choice.model, signal)]]);
      this.unknown = new Map([...this.unknown].filter(([other]) => other !== choice));
    } catch (error) {
      if (signal.aborted) return;
      this.unknown = new Map([...this.unknown, [choice, reason(error)]]);
    }
  }

  async #look(): Promise<void> {
    try {
      [this.stored, this.use] = await Promise.all([listModels(), storageEstimate()]);
    } catch (error) {
      this.problem = reason(error);
    }
  }

  protected override render() {
    return html`<dialog class="models" aria-labelledby="models-title" @click=${this.#onBackdrop}>
      <div class="sheet">
        <header>
          <h2 id="models-title">Models</h2>
          <button class="icon" type="button" aria-label="Close" @click=${this.#close}>
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 4 8 8M12 4l-8 8" /></svg>
          </button>
        </header>
        <section aria-labelledby="list-title">
          <h3 id="list-title">Choose</h3>
          <ul class="rows">
            ${CHOICES.map((choice) => this.#choice(choice))}
          </ul>
        </section>
        <section aria-labelledby="own-title">
          <h3 id="own-title">Your own</h3>
          ${this.#own()}
        </section>
        <section aria-labelledby="stored-title">
          <h3 id="stored-title">On this device</h3>
          ${this.#storedRows()}
        </section>
        ${this.problem ? html`<p class="note bad" role="alert">${this.problem}</p>` : nothing}
      </div>
    </dialog>`;
  }

  #choice(choice: Choice) {
    const verdict = this.verdicts.get(choice);
    const runs = this.running === choice.name;
    const label = runs ? `${choice.name} is in use` : `Use ${choice.name}`;
    return html`<li class="row">
      <span class="name">${choice.name}</span>
      <span class="facts">
        ${formatBytes(choice.bytes)} · ${choice.about}<br />
        ${this.#verdict(choice)}
      </span>
      <button
        class="act"
        type="button"
        aria-label=${label}
        ?disabled=${runs || verdict?.verdict === "no"}
        @click=${() => this.#choose(choice)}
      >
        ${runs ? "In use" : "Use"}
      </button>
    </li>`;
  }

  #verdict(choice: Choice) {
    const found = this.verdicts.get(choice);
    if (!found) return this.unknown.get(choice) ?? "Looking at this device";
    const speed = found.tokensPerSecond ? `about ${formatRate(found.tokensPerSecond)}` : "";
    const words = [speed, found.reason].filter(Boolean).join("; ");
    return html`<span class="verdict ${found.verdict}">${WORDS[found.verdict]}</span>${words && `: ${words}`}`;
  }

  #own() {
    return html`
      <p class="note" id="own-note">
        A GGUF file by its address or as <code>hf:org/repo/file.gguf</code>. It comes to this device and stays here.
      </p>
      <form class="from" @submit=${this.#onAddress}>
        <input
          type="text"
          inputmode="url"
          name="address"
          aria-label="Address of a model"
          aria-describedby="own-note"
          placeholder="hf:org/repo/file.gguf"
          autocomplete="off"
          spellcheck="false"
        />
        <button class="act strong">Load</button>
      </form>
      <div class="file">
        <p class="note">Or a file from this disk: choose it, or drop it on the page.</p>
        <button class="act" type="button" @click=${this.#pick}>Choose</button>
        <input type="file" accept=".gguf" multiple hidden aria-label="A model's file" @change=${this.#onFiles} />
      </div>
    `;
  }

  #storedRows() {
    if (this.stored === null) return html`<p class="note">Looking</p>`;
    const use = this.use;
    const room =
      use && use.quota ? `${formatBytes(use.usage)} of ${formatBytes(use.quota)} that this page may use` : "";
    return html`
      ${
        this.stored.length
          ? html`<ul class="rows">
            ${this.stored.map((model) => this.#storedRow(model))}
          </ul>`
          : html`<p class="note">No model is stored.</p>`
      }
      ${room ? html`<p class="note">${room}, in the browser's private file system.</p>` : nothing}
    `;
  }

  #storedRow(model: StoredModel) {
    const name = nameOf(model.source);
    const part = model.complete ? "" : ` of ${formatBytes(model.totalBytes)}, not complete`;
    return html`<li class="row">
      <span class="name">${name}</span>
      <span class="facts">${formatBytes(model.bytes)}${part}<br />${model.source}</span>
      <button class="act" type="button" aria-label="Delete ${name}" @click=${() => this.#delete(model)}>Delete</button>
    </li>`;
  }

  async #delete(model: StoredModel): Promise<void> {
    try {
      await deleteModel(model.source);
    } catch (error) {
      this.problem = reason(error);
    }
    await this.#look();
    this.querySelector<HTMLElement>("#stored-title ~ * button, header button")?.focus();
  }

  #choose(choice: Choice): void {
    this.#close();
    this.dispatchEvent(new CustomEvent("choose", { detail: choice }));
  }

  #take(model: string | File[]): void {
    const choice = ownChoice(model);
    if (choice) this.#choose(choice);
    else
      this.problem = "A model's address begins with https:// or with hf: and a repository, as hf:org/repo/file.gguf.";
  }

  #onAddress(event: SubmitEvent): void {
    event.preventDefault();
    this.#take(String(new FormData(event.target as HTMLFormElement).get("address") ?? ""));
  }

  #pick(): void {
    this.querySelector<HTMLInputElement>("input[type=file]")!.click();
  }

  #onFiles(event: Event): void {
    const input = event.target as HTMLInputElement;
    const files = [...(input.files ?? [])];
    input.value = "";
    if (files.length) this.#take(files);
  }

  #onBackdrop(event: Event): void {
    if (event.target === this.querySelector("dialog")) this.#close();
  }

  #close(): void {
    this.querySelector("dialog")!.close();
  }
}

customElements.define("models-panel", ModelsPanel);

declare global {
  interface HTMLElementTagNameMap {
    "models-panel": ModelsPanel;
  }
}
