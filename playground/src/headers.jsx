import { pick, useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { useEffect } from "react";

const SETTLED_MS = 600;

/** Fetches the schema once the headers change while there is none: the token is usually pasted after the page opened. */
export function SchemaFollowsHeaders() {
  const { schema, headerEditor } = useGraphiQL(pick("schema", "headerEditor"));
  const { introspect } = useGraphiQLActions();
  useEffect(() => {
    if (schema || !headerEditor) return;
    let timer;
    const listening = headerEditor.onDidChangeModelContent(() => {
      clearTimeout(timer);
      timer = setTimeout(() => parsedJson(headerEditor.getValue()) && introspect(), SETTLED_MS);
    });
    return () => {
      clearTimeout(timer);
      listening.dispose();
    };
  }, [schema, headerEditor, introspect]);
}

/**
 * Fills the headers in where GraphiQL empties their editor (a new tab, an entry of the history),
 * so that one token serves everywhere. What the user empties by hand stays empty.
 */
export function HeadersFollowTabs({ headers }) {
  const { headerEditor } = useGraphiQL(pick("headerEditor"));
  useEffect(() => {
    const fill = () => headerEditor.getValue() === "" && headerEditor.setValue(headers());
    const listening = headerEditor?.onDidChangeModelContent(({ isFlush }) => isFlush && headers() && queueMicrotask(fill));
    return () => listening?.dispose();
  }, [headerEditor, headers]);
}

export function parsedJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
