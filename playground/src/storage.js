/** `area` ("localStorage" or "sessionStorage") under our own prefix, or plain memory where the browser denies it. */
export function openStorage(area, prefix) {
  const store = granted(area) ?? memory();
  const ours = () => Array.from({ length: store.length }, (_, index) => store.key(index)).filter((key) => key.startsWith(prefix));
  return {
    getItem: (key) => store.getItem(prefix + key),
    setItem: (key, value) => store.setItem(prefix + key, value),
    removeItem: (key) => store.removeItem(prefix + key),
    clear: () => ours().forEach((key) => store.removeItem(key)),
    get length() {
      return ours().length;
    },
  };
}

const HISTORY_KEYS = ["graphiql:queries", "graphiql:favorites"];

/** The same storage, except that GraphiQL's history goes in without its headers: tokens are not for keeping. */
export function withoutHeaders(storage) {
  const cleaned = (text) => JSON.stringify(JSON.parse(text), (key, value) => (key === "headers" ? undefined : value));
  const setItem = (key, value) => storage.setItem(key, HISTORY_KEYS.includes(key) ? cleaned(value) : value);
  return Object.create(storage, { setItem: { value: setItem } });
}

function granted(area) {
  try {
    return window[area];
  } catch {
    return null;
  }
}

function memory() {
  const items = new Map();
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
    key: (index) => [...items.keys()][index],
    get length() {
      return items.size;
    },
  };
}
