const FRAME_MS = 33;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * An async iterator fed from outside that keeps only the newest value, one per frame at most,
 * so a thousand events per second leave the page responsive. `return` ends it even while `next`
 * waits, which a generator cannot do. The feeding functions tell whether they still had an effect.
 */
export function newest(onReturn) {
  let value;
  let fresh = false;
  let ended = false;
  let failure = null;
  let shownAt = 0;
  let wake = () => {};

  const feed = (change) => (argument) => {
    if (ended) return false;
    change(argument);
    wake();
    return true;
  };

  return {
    push: feed((next) => {
      value = next;
      fresh = true;
    }),
    end: feed(() => {
      ended = true;
    }),
    fail: feed((error) => {
      ended = true;
      failure = { error };
    }),
    async next() {
      await sleep(shownAt + FRAME_MS - performance.now());
      while (!fresh && !ended) await new Promise((resolve) => (wake = resolve));
      if (fresh) {
        fresh = false;
        shownAt = performance.now();
        return { done: false, value };
      }
      if (failure) throw failure.error;
      return { done: true, value: undefined };
    },
    async return() {
      const running = !ended;
      ended = true;
      fresh = false;
      if (running) onReturn();
      wake();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
