/** Web Locks that are held until they are released. */

/** Takes a lock together with others that share it; gives the function that releases it. */
export function hold(name: string, signal: AbortSignal): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const whileHeld = () => new Promise<void>((release) => resolve(release));
    navigator.locks.request(name, { mode: "shared", signal }, whileHeld).catch(reject);
  });
}

/** Runs something while nobody else holds the lock; false if somebody does. */
export function ifUnused(name: string, run: () => Promise<void>): Promise<boolean> {
  return navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (lock) await run();
    return lock !== null;
  });
}

/** How many hold this lock, in all tabs. */
export async function countHolders(name: string): Promise<number> {
  const { held = [] } = await navigator.locks.query();
  return held.filter((lock) => lock.name === name).length;
}
