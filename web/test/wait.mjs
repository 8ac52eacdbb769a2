// Waiting for what happens elsewhere.
import assert from "node:assert/strict";

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until `condition` holds; fails after `ms`, naming `what` did not come. */
export const until = async (condition, what, ms = 30_000) => {
  for (const end = Date.now() + ms; !(await condition()); await sleep(20)) assert.ok(Date.now() < end, `waited for ${what}`);
};
