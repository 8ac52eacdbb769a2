/** The demo page: tiny-r1 at once, any other model by choice. */
import "./trusted.ts";
import "../src/components/index.ts";
import "./models-panel.ts";
import { formatBytes, formatParameters } from "../src/components/format.ts";
import type { Engine } from "../src/types.ts";
import { lastCrash, load } from "./aloud.ts";
import { nameOf, ownChoice, TINY, type Choice } from "./choices.ts";

const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const chat = byId<HTMLElementTagNameMap["aloud-chat"]>("chat");
const panel = byId<HTMLElementTagNameMap["models-panel"]>("models");

let current = TINY;
let opening: AbortController | null = null;
let engine: Engine | null = null;

/** Loads a model in the place of the one there is. A later call ends an earlier one. */
async function open(choice: Choice): Promise<void> {
  opening?.abort();
  const abort = new AbortController();
  opening = abort;
  current = choice;
  show(choice);
  const old = engine;
  engine = chat.engine = null;
  try {
    await old?.dispose();
    const onProgress = (progress: typeof chat.progress) => {
      if (!abort.signal.aborted) chat.progress = progress;
    };
    const loaded = await load({ model: choice.model, signal: abort.signal, onProgress });
    if (abort.signal.aborted) return await loaded.dispose();
    engine = chat.engine = loaded;
    byId("foot").textContent = describe(loaded);
  } catch (error) {
    if (!abort.signal.aborted) chat.error = error instanceof Error ? error : new Error(String(error));
  }
}

/** What the page says of a model before it is there. */
function show(choice: Choice): void {
  chat.error = null;
  chat.progress = { phase: "connect", loaded: 0, total: 0, bytesPerSecond: 0 };
  chat.name = choice.name;
  chat.single = choice.single;
  chat.suggestions = choice.suggestions;
  panel.running = choice.name;
  byId("model-name").textContent = choice.name;
  byId("foot").textContent = "Nothing you write leaves this device.";
  byId("about").textContent =
    choice === TINY
      ? "tiny-r1 is so small that it comes with the page. It follows stacks of boxes and does sums on paper, " +
        "on your own graphics card, and shows how it gets there."
      : `${choice.name} runs on your own graphics card, and shows how it gets to its answers.`;
}

function describe({ model }: Engine): string {
  const parts = [model.name, formatParameters(model.parameters), model.quantization, formatBytes(model.gpuBytes)];
  return `${parts.filter(Boolean).join(" · ")} on ${model.adapter}. Nothing you write leaves this device.`;
}

/** What a tab was busy with that ended on the way, if one did; asked before a load that ends well forgets it. */
async function tellCrash(): Promise<void> {
  const crash = await lastCrash().catch(() => null);
  if (!crash) return;
  const name = crash.source ? nameOf(crash.source) : "a file from disk";
  const doing = crash.phase === "answer" ? `${name} was answering` : `${name} was loading (${crash.phase})`;
  const note = byId("crash");
  note.textContent =
    `Last time this page ended while ${doing}. If it was not you who closed it, there was too little memory: ` +
    "a smaller model may do, or fewer open tabs.";
  note.hidden = false;
}

/** Light or dark as the system has it, until the user says otherwise. */
function setTheme(dark: boolean): void {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  chat.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

/** Files that are dropped anywhere open as a model. */
function watchDrops(): void {
  const overlay = byId("drop");
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    const choice = ownChoice([...event.dataTransfer!.files]);
    if (choice) void open(choice);
  });
}

const system = matchMedia("(prefers-color-scheme: dark)");
byId("theme").setAttribute("aria-pressed", String(system.matches));
byId("theme").addEventListener("click", () => setTheme(byId("theme").getAttribute("aria-pressed") !== "true"));
byId("open-models").addEventListener("click", () => void panel.show());
byId("fresh").addEventListener("click", () => void chat.clear());
chat.addEventListener("aloud-retry", () => void open(current));
panel.addEventListener("choose", (event) => {
  void chat.clear();
  void open((event as CustomEvent<Choice>).detail);
});
watchDrops();
void tellCrash();
void open(current);
