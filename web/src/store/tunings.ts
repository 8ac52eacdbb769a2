/** What was measured of this browser's GPUs, which kernels are fastest, so that it is measured once. */

import { type Disk, openDisk, readJson, writeJson } from "./disk.ts";
import { parseTunings, type TuningRecord } from "./layout.ts";

const PATH = "tunings";
/** Records that are kept, the newest: of devices, and of versions of drivers, browsers and kernels. */
const MOST = 16;

const read = async (disk: Disk): Promise<TuningRecord[]> => (await readJson(disk, PATH, parseTunings)) ?? [];

/** What is known of a device: texts by the engine's keys. */
export async function readTunings(device: string): Promise<Record<string, string>> {
  const disk = await openDisk();
  const all = disk ? await read(disk) : [];
  return Object.fromEntries(all.filter((record) => record.device === device).map(({ key, text }) => [key, text]));
}

/** Adds what is known of a device, or replaces it. Of two tabs that do so at once one may measure again. */
export async function keepTuning(record: TuningRecord): Promise<void> {
  const disk = await openDisk();
  if (!disk) return;
  const others = (await read(disk)).filter(({ device, key }) => device !== record.device || key !== record.key);
  await writeJson(disk, PATH, { known: [record, ...others].slice(0, MOST) });
}
