/** What a tab is busy with, written down, so that the next visit knows in which phase a tab was killed. */

import { openDisk, readJson, writeJson } from "./disk.ts";
import { ROOT } from "./layout.ts";

export interface Crash {
  /** What `deleteModel` takes; "" for a file from disk. */
  source: string;
  /** A phase of loading, or `answer`. */
  phase: string;
  at: Date;
}

interface Tombstone {
  source: string;
  phase: string;
  atMs: number;
}

const lockName = (session: string) => `${ROOT} phase ${session}`;
const SESSION = globalThis.crypto?.randomUUID?.() ?? "";
const OWN = `phases/${SESSION}`;

/** Resolves once this tab is known to be alive, for as long as it is. */
let alive: Promise<void> | undefined;
/** Records are written one after the other. */
let last: Promise<void> = Promise.resolve();

export function parseTombstone(text: string): Tombstone | null {
  try {
    const { source, phase, atMs } = JSON.parse(text);
    const isRight = typeof source === "string" && typeof phase === "string" && Number.isSafeInteger(atMs);
    return isRight ? { source, phase, atMs } : null;
  } catch {
    return null;
  }
}

function live(): Promise<void> {
  alive ??= new Promise((resolve, reject) => {
    const forever = () => new Promise<void>(() => resolve());
    navigator.locks.request(lockName(SESSION), forever).catch(reject);
  });
  return alive;
}

function afterLast(work: () => Promise<void>): Promise<void> {
  return (last = last.then(work, work));
}

/** Notes that this tab begins a phase of loading or running a model. Nothing is noted where there is no storage. */
export function markPhase(source: string, phase: string): Promise<void> {
  const atMs = Date.now();
  return afterLast(async () => {
    const disk = await openDisk();
    if (!disk) return;
    await live();
    await writeJson(disk, OWN, { source, phase, atMs } satisfies Tombstone);
  });
}

/** Notes that all is well: neither this tab's phase nor an earlier crash is told any more. */
export function clearPhase(): Promise<void> {
  return afterLast(async () => {
    const disk = await openDisk();
    if (!disk) return;
    await disk.remove(OWN);
    for (const { path } of await crashes()) await disk.remove(path);
  });
}

/** The latest phase in which a tab ended without `clearPhase`: it was killed, or closed by the user on the way. */
export async function lastCrash(): Promise<Crash | null> {
  const latest = (await crashes()).reduce<Tombstone | null>((a, b) => (a && a.atMs > b.atMs ? a : b), null);
  return latest && { source: latest.source, phase: latest.phase, at: new Date(latest.atMs) };
}

async function crashes(): Promise<(Tombstone & { path: string })[]> {
  const disk = await openDisk();
  if (!disk) return [];
  // In this order: whoever has a record that is listed here took the lock before.
  const sessions = [...(await disk.files("phases")).keys()];
  const held = new Set((await navigator.locks.query()).held?.map(({ name }) => name));
  const found = [];
  for (const session of sessions) {
    if (session === SESSION || held.has(lockName(session))) continue;
    const path = `phases/${session}`;
    const tombstone = await readJson(disk, path, parseTombstone);
    if (tombstone) found.push({ ...tombstone, path });
    else await disk.remove(path);
  }
  return found;
}
