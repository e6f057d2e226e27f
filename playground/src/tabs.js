const SAMPLES_KEY = "samples";
const TABS_KEY = "graphiql:tabState";

/**
 * Writes the tabs to open into GraphiQL's storage and returns the active one. Samples are the operations
 * the server offers: a returning user keeps edited tabs, while samples left as they were follow the
 * server's present ones (their ids and cursors grow old); a sample closed by the user stays closed.
 */
export function prepareTabs(storage, samples) {
  const state = openingTabs(read(storage, TABS_KEY), read(storage, SAMPLES_KEY) ?? [], samples);
  storage.setItem(TABS_KEY, JSON.stringify(state));
  storage.setItem(SAMPLES_KEY, JSON.stringify(samples));
  return state.tabs[state.activeTabIndex];
}

export function openingTabs(saved, oldSamples, samples) {
  const tabs = [...keptTabs(saved?.tabs ?? [], oldSamples, samples), ...newTabs(oldSamples, samples, saved)];
  if (tabs.length === 0) return openingTabs(null, [], samples);
  const activeId = saved?.tabs[saved.activeTabIndex]?.id;
  return { tabs, activeTabIndex: Math.max(0, tabs.findIndex(({ id }) => id === activeId)) };
}

function keptTabs(saved, oldSamples, samples) {
  return saved.flatMap((tab) => {
    const old = oldSamples.find((sample) => sample.query === tab.query && sample.variables === (tab.variables ?? ""));
    if (!old) return [tab];
    const present = samples.find(({ name }) => name === old.name);
    return present ? [tabOf(present, tab.id)] : [];
  });
}

function newTabs(oldSamples, samples, saved) {
  const known = new Set(saved ? oldSamples.map(({ name }) => name) : []);
  return samples.filter(({ name }) => !known.has(name)).map((sample) => tabOf(sample));
}

function tabOf({ name, query, variables }, id = crypto.getRandomValues(new Uint32Array(2)).join("-")) {
  const operationName = /\b(?:query|mutation|subscription)\s+(\w+)/.exec(query)?.[1] ?? null;
  return { id, title: operationName ?? name, query, variables, headers: null, operationName, response: null };
}

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null;
  }
}
