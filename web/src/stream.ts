/** Ways between who tells events and who awaits them. */

/** Events that are pushed in and iterated over, once. */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  #waiting: T[] = [];
  #wake: (() => void) | undefined;
  #over = false;
  #error: unknown;
  #failed = false;

  /** `onReturn` hears of a reader that leaves early. */
  constructor(private readonly onReturn: () => void) {}

  push(event: T): void {
    if (this.#over) return;
    this.#waiting.push(event);
    this.#wake?.();
  }

  end(): void {
    this.#over = true;
    this.#wake?.();
  }

  fail(error: unknown): void {
    if (this.#over) return;
    this.#error = error;
    this.#failed = true;
    this.end();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      if (this.#waiting.length > 0) return { value: this.#waiting.shift()!, done: false };
      if (this.#failed) {
        this.#failed = false;
        throw this.#error;
      }
      if (this.#over) return { value: undefined, done: true };
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  return(): Promise<IteratorResult<T>> {
    this.#waiting = [];
    if (!this.#over) this.onReturn();
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** What a generator yields, as a stream that ends it when it is cancelled. */
export function readable<T>(source: AsyncGenerator<T>): ReadableStream<T> {
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await source.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await source.return(undefined);
    },
  });
}
