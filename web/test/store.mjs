// What the tests of the store share: a browser, servers, and tabs that use the store in their page or in a worker.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, afterEach, before } from "node:test";
import { launch } from "./browser.mjs";
import { bundleModule } from "./bundle.mjs";
import { FaultyFile } from "./faults.mjs";
import { serve } from "./server.mjs";

export const CHUNK = 64 << 10;
export const TUNING = { chunkBytes: CHUNK, pauseMs: 20, stallMs: 60_000, attempts: 3 };
export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
export { sleep, until } from "./wait.mjs";

/** Runs in the page or worker: what the tests use of the store. */
async function prepare() {
  const store = await import("/store.js");
  const hex = async (bytes) =>
    [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))]
      .map((b) => b.toString(16).padStart(2, "0"))
      .join("");
  const failed = (error) => ({ code: error.code ?? "none", message: String(error.message) });
  const models = new Map();
  const tell = (promise) =>
    promise.then(
      (value) => ({ value }),
      (error) => ({ error: failed(error) }),
    );
  globalThis.store = store;
  globalThis.t = {
    models,
    progress: [],
    open: (name, source, options) => {
      const controller = new AbortController();
      const onProgress = (progress) => globalThis.t.progress.push({ ...progress, atMs: performance.now() });
      const all = { storage: "auto", onProgress, signal: controller.signal, ...options };
      models.set(name, { controller });
      return tell(
        store.openModel(source, all).then((model) => {
          models.set(name, { model, controller });
          const files = model.files.map(({ name, size }) => ({ name, size }));
          const small = model.small && { small: Object.fromEntries([...model.small].map(([k, v]) => [k, v.length])) };
          return { kind: model.kind, name: model.name, files, ...small };
        }),
      );
    },
    read: (name, i, offset, length) => tell(models.get(name).model.files[i].read(offset, length).then(hex)),
    readAll: (name, i, step) =>
      tell(
        (async () => {
          const file = models.get(name).model.files[i];
          const all = new Uint8Array(file.size);
          for (let at = 0; at < file.size; at += step) {
            all.set(await file.read(at, Math.min(step, file.size - at)), at);
          }
          return hex(all);
        })(),
      ),
    complete: (name) => tell(models.get(name).model.complete()),
    close: (name) => tell(models.get(name).model.close()),
    abort: (name) => models.get(name).controller.abort(),
    call: (name, ...args) => tell(store[name](...args)),
  };
}

/** Of this test file: the browser, the server of its pages, and one of another origin. */
export let browser, server, elsewhere;
/** The files of the test that runs, by path. */
export const files = new Map();
export const routes = {};
export const otherRoutes = {};

/** Adds a file to the server, or to the one of another origin. */
export function addFile(name, bytes = randomBytes(CHUNK * 4 + 1000), where = routes) {
  const file = new FaultyFile(bytes);
  where[name] = file.handler;
  files.set(name, file);
  return file;
}

before(async () => {
  const code = await bundleModule("src/store/index.ts");
  const script = (text) => (_, response) => response.writeHead(200, { "content-type": "text/javascript" }).end(text);
  routes["/store.js"] = script(code);
  routes["/worker.js"] = script("onmessage = () => {};");
  [server, elsewhere, browser] = await Promise.all([serve(routes), serve(otherRoutes), launch()]);
});
after(async () => {
  await browser?.close();
  await Promise.all([server?.close(), elsewhere?.close()]);
});

const contexts = [];
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close().catch(() => {})));
  files.clear();
});

/** A fresh browser profile. */
export async function newContext() {
  const context = await browser.newContext();
  contexts.push(context);
  return context;
}

/** One tab for all tests of a suite, to save time: a getter of it. */
export function sharedTab(options) {
  let tab;
  before(async () => {
    tab = await newTab(await browser.newContext(), options);
  });
  after(() => tab?.page.context().close());
  return () => tab;
}

/** A tab with the store, in its page or in a worker of it. `init` runs in the page first. */
export async function newTab(context, { realm = "page", init } = {}) {
  const page = await context.newPage();
  if (init) await page.addInitScript(init);
  return enter(page, realm);
}

export async function enter(page, realm = "page") {
  await page.goto(`${server.origin}/test/page.html`);
  let where = page;
  if (realm === "worker") {
    const worker = page.waitForEvent("worker");
    await page.evaluate(() => void (globalThis.worker = new Worker("/worker.js", { type: "module" })));
    where = await worker;
  }
  await where.evaluate(prepare);
  const call = (name, ...args) => where.evaluate(([name, args]) => globalThis.t[name](...args), [name, args]);
  const get = async (name, ...args) => {
    const { value, error } = await call(name, ...args);
    if (error) assert.fail(`${name}: ${error.code}: ${error.message}`);
    return value;
  };
  const code = async (name, ...args) => (await call(name, ...args)).error?.code ?? "no error";
  const open = (name, source, options) => get("open", name, source, { tuning: TUNING, ...options });
  const openCode = (name, source, options) => code("open", name, source, { tuning: TUNING, ...options });
  return { page, where, call, get, code, open, openCode };
}

export const expectAll = async (tab, name, file, step = 50_000) =>
  assert.equal(await tab.get("readAll", name, 0, step), sha256(file.bytes));

/** Paths of chunk files in OPFS, and a way to flip a byte of one. */
export const chunkFiles = (tab) =>
  tab.where.evaluate(async () => {
    const found = [];
    const walk = async (folder, path) => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === "directory") await walk(handle, `${path}${name}/`);
        else if (/^\d+$/.test(name)) found.push([`${path}${name}`, (await handle.getFile()).size]);
      }
    };
    await walk(await navigator.storage.getDirectory(), "");
    return found.sort();
  });
export const flip = (page, file, at) =>
  page.evaluate(
    async ([file, at]) => {
      const names = file.split("/");
      let folder = await navigator.storage.getDirectory();
      for (const name of names.slice(0, -1)) folder = await folder.getDirectoryHandle(name);
      const handle = await folder.getFileHandle(names.at(-1));
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      bytes[at] ^= 1;
      const writable = await handle.createWritable();
      await writable.write(bytes);
      await writable.close();
    },
    [file, at],
  );
