import { pick, useGraphiQL } from "@graphiql/react";
import { useEffect, useSyncExternalStore } from "react";

const QUIET = { tone: "quiet", text: "Ready" };

let current = QUIET;
let turn = 0;
const listeners = new Set();

function show(status) {
  current = status;
  for (const listener of listeners) listener();
}

function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Gives the status line to a new operation; what earlier ones still report is dropped. */
export function takeStatusLine() {
  const mine = ++turn;
  return (tone, text) => mine === turn && show({ tone, text });
}

/** How the running or last operation of the tab is doing, below its response. */
export function StatusLine() {
  const { tone, text } = useSyncExternalStore(listen, () => current);
  const { activeTabIndex } = useGraphiQL(pick("activeTabIndex"));
  useEffect(() => takeStatusLine()(QUIET.tone, QUIET.text), [activeTabIndex]);
  return (
    <div className="status-line" data-tone={tone} role="status">
      {text}
    </div>
  );
}
