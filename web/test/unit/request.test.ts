import { describe, expect, it } from "vitest";
import { engineRequest } from "../../src/request.ts";
import type { ChatMessage, ChatOptions } from "../../src/types.ts";

const MESSAGES: ChatMessage[] = [{ role: "user", content: "1 + 1?" }];
const refused = (options: object, messages: unknown = MESSAGES): unknown => {
  try {
    engineRequest(messages as ChatMessage[], options as ChatOptions);
    return "accepted";
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("a request", () => {
  it("keeps what was asked for", () => {
    const asked = { max_tokens: 5, temperature: 0, top_p: 0.9, seed: 4294967295, stop: "a" };
    expect(engineRequest(MESSAGES, asked)).toMatchObject({ ...asked, stop: ["a"], messages: MESSAGES });
  });

  it("draws a seed if none is given", () => {
    const seeds = new Set(Array.from({ length: 20 }, () => engineRequest(MESSAGES).seed));
    expect(seeds.size).toBeGreaterThan(15);
  });

  it("turns an effort into a budget, which a budget overrules", () => {
    const budget = (reasoning: ChatOptions["reasoning"]) => {
      const { think, think_budget } = engineRequest(MESSAGES, { reasoning });
      return [think, think_budget];
    };
    expect(budget(undefined)).toEqual([undefined, undefined]);
    expect(budget({ effort: "none" })).toEqual([false, undefined]);
    expect(budget({ effort: "low" })).toEqual([undefined, 256]);
    expect(budget({ effort: "high", budget_tokens: 7 })).toEqual([undefined, 7]);
    expect(budget({ budget_tokens: 0 })).toEqual([undefined, 0]);
  });

  it("drops thoughts that are handed back", () => {
    const turn = { role: "assistant", content: "2", reasoning_content: "1 + 1 = 2" } as ChatMessage;
    expect(engineRequest([...MESSAGES, turn]).messages[1]).toEqual({ role: "assistant", content: "2" });
  });

  it("is refused by name if a parameter is unknown, a toString() of objects too", () => {
    for (const name of ["tools", "best_of", "toString", "__proto__x", "messages"]) {
      expect(refused({ [name]: 1 })).toBe("unknown-parameter");
    }
    expect(refused({ reasoning: { deep: true } })).toBe("unknown-parameter");
    expect(refused({}, [{ role: "user", content: "", name: "x" }])).toBe("unknown-parameter");
  });

  it.each([
    { max_tokens: 0 },
    { max_tokens: 2 ** 31 },
    { temperature: Number.NaN },
    { temperature: "1" },
    { top_p: 1.1 },
    { min_p: -0.1 },
    { repetition_penalty: 0 },
    { presence_penalty: Number.POSITIVE_INFINITY },
    { seed: 0.5 },
    { stop: [""] },
    { stop: 3 },
    { logprobs: 1 },
    { top_logprobs: 2 },
    { logprobs: true, top_logprobs: 21 },
    { reasoning: "high" },
    { reasoning: { effort: "xhigh" } },
    { signal: {} },
    null,
  ])("is refused: %j", (options) => {
    expect(refused(options as object)).toBe("invalid-request");
  });

  it.each([[[]], [null], [[{ role: "tool", content: "" }]], [[{ role: "user" }]], [["hello"]], [[null]]])(
    "is refused with messages %j",
    (messages) => {
      expect(refused({}, messages)).toBe("invalid-request");
    },
  );
});
