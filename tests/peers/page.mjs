// One round of an engine in a page of headless Chromium: what the scripts beside this one share.
import { readFileSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "../../web/test/browser.mjs";
import { TYPES, byRanges, serve } from "../../web/test/server.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const json = (file) => JSON.parse(readFileSync(file, "utf8"));

/** What every engine is asked. */
export const TASK = json(here("task.json"));

/** The question in SmolLM2's template, for engines that are given plain text. */
export const QUESTION =
  `<|im_start|>system\n${TASK.system}<|im_end|>\n` +
  `<|im_start|>user\n${TASK.question}<|im_end|>\n<|im_start|>assistant\n`;

/** A prompt of tokens all over the vocabulary, for engines that are given tokens; the same as in llamacpp.py. */
export const PROMPT_IDS = Array.from({ length: TASK.prompt_tokens }, (_, i) => ((i * 7919 + 11) % 49000) + 20);

/** Pages so served may have threads, which some engines want. */
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-resource-policy": "same-origin",
};
/** A round that takes longer will not end: engines have been seen to hang in a lost GPU. */
const LIMIT_MS = 540_000;

/** Serves a file, whole and by ranges. */
export function fileRoute(file) {
  const headers = { ...ISOLATED, "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" };
  let bytes;
  return async (request, response) => byRanges(await (bytes ??= readFile(file)), headers)(request, response);
}

/** Serves the files of a folder and of those in it below `prefix`, which ends with a slash. */
export async function folderRoutes(prefix, folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  const url = (file) => prefix + path.relative(folder, file).replaceAll(path.sep, "/");
  return Object.fromEntries(files.map((file) => [url(file), fileRoute(file)]));
}

/** The folder of an installed package. */
export const packageFolder = (name) => here(`node_modules/${name}`);
const versionOf = (name) => json(path.join(packageFolder(name), "package.json")).version;

/**
 * Runs `measure(argument)` in an empty page that is served `routes`, and prints what came of it as one line of JSON.
 *
 * `measure` gives `{ prompt_tokens, prefill, cached_tokens, times, answer }`: the tokens of a prompt of which nothing
 * was cached, and how many a second were computed up to the first token behind it; the tokens cached when the answer
 * began, the time at which each of the answer's came, and the answer, as text or as ids that `decode` makes text of.
 *
 * `usedGpu({ logs, dispatches })` tells whether it was WebGPU that computed: by what the page logged, or by the
 * dispatches of its thread. Engines that can go on without a GPU do not say so otherwise.
 */
export async function round({ peer, version = versionOf(peer), routes, measure, argument, usedGpu, decode }) {
  const headers = { ...ISOLATED, "content-type": TYPES[".html"] };
  const html = (_, response) => response.writeHead(200, headers).end("<!doctype html>");
  const server = await serve({ "/": html, ...routes });
  const logs = [];
  let browser;
  try {
    browser = await launch();
    const page = await browser.newPage();
    page.on("console", (message) => logs.push(message.text()));
    page.on("pageerror", (error) => logs.push(String(error)));
    await page.goto(`${server.origin}/`);
    const device = await page.evaluate(countDispatches);
    const late = new Promise((_, reject) => setTimeout(reject, LIMIT_MS, new Error("no result in time")).unref());
    const { times, answer, ...figures } = await Promise.race([page.evaluate(measure, argument), late]);
    const dispatches = await page.evaluate(() => globalThis.dispatches);
    if (usedGpu && !usedGpu({ logs, dispatches })) throw new Error(`computed on the CPU, not by WebGPU (${device})`);
    const text = decode ? decode(answer) : answer;
    console.log(JSON.stringify({ peer, version, device, ...figures, decode: speed(times, text), text }));
  } catch (error) {
    console.error(`${peer}: ${error.message}\n${logs.slice(-20).join("\n")}`);
    process.exitCode = 1;
  } finally {
    await browser?.close();
    await server.close();
  }
}

/** Tokens per second from the first to the last. */
function speed(times, text) {
  if (times.length !== TASK.answer_tokens + 1) throw new Error(`${times.length} tokens came one by one: ${text}`);
  return (TASK.answer_tokens / (times.at(-1) - times[0])) * 1000;
}

/** In the page: counts what is dispatched to the GPU from now on, and tells which GPU that is. */
async function countDispatches() {
  globalThis.dispatches = 0;
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) {
    const dispatch = GPUComputePassEncoder.prototype[name];
    GPUComputePassEncoder.prototype[name] = function (...args) {
      globalThis.dispatches++;
      return dispatch.apply(this, args);
    };
  }
  const { info } = (await navigator.gpu?.requestAdapter()) ?? {};
  if (!info) throw new Error("WebGPU has no adapter here");
  return [info.vendor, info.architecture, info.description].filter(Boolean).join(", ");
}
