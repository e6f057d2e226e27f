import { Kind, parse } from "graphql";
import { createClient } from "graphql-ws";
import { newest } from "./newest.js";
import { takeStatusLine } from "./status.jsx";

const ACK_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 10_000;
const PONG_TIMEOUT_MS = 5_000;
const SHOWN_BODY_CHARACTERS = 2_000;

const CLOSE_HINTS = {
  1006: "The server cannot be reached, or the network dropped the connection.",
  1012: "The server restarts: run the operation again.",
  1013: "This reader was too slow, or the server is busy: run the operation again.",
  4403: "The token in the headers is missing, invalid or expired.",
  4499: "The connection went silent.",
};

/**
 * GraphiQL's fetcher for one endpoint: queries and mutations by POST, subscriptions by WebSocket.
 * GraphiQL's first introspection runs before its headers editor exists, hence `openingHeaders`.
 */
export function createFetcher(endpoint, openingHeaders) {
  const url = new URL(endpoint, location.href);
  return (params, options) => {
    if (!("documentAST" in options)) return introspect(url, params, options.headers ?? openingHeaders);
    const operation = selectedOperation(params);
    const request = { ...params, operationName: operation?.name?.value ?? params.operationName };
    const run = operation?.operation === "subscription" ? subscribe : send;
    return run(url, request, options.headers);
  };
}

// GraphiQL's own idea of the operation lags 100 ms behind the editor, so the text decides.
function selectedOperation({ query, operationName }) {
  const operations = operationsOf(query);
  return operations.find(({ name }) => name?.value === operationName) ?? (operations.length === 1 ? operations[0] : null);
}

function operationsOf(query) {
  try {
    return parse(query).definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  } catch {
    return []; // the server answers with the syntax error
  }
}

async function introspect(url, params, headers) {
  return (await post(url, params, headers)).answer;
}

function send(url, params, headers) {
  const report = takeStatusLine();
  const abort = new AbortController();
  const startedAt = performance.now();
  const answers = newest(() => {
    abort.abort();
    report("quiet", "Stopped");
  });
  report("busy", "Waiting for the answer");
  post(url, params, headers, abort.signal).then(
    ({ response, answer }) => {
      const tone = response.ok && !answer.errors ? "ok" : "error";
      answers.push(answer);
      if (answers.end()) report(tone, `HTTP ${response.status} after ${Math.round(performance.now() - startedAt)} ms`);
    },
    ({ message }) => {
      if (answers.fail({ message: `No answer from ${url}: ${message}` })) report("error", "No answer");
    },
  );
  return answers;
}

async function post(url, params, headers, signal) {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(params), headers: requestHeaders(headers), signal });
  return { response, answer: answerOf(response, await response.text()) };
}

function requestHeaders(custom = {}) {
  const headers = new Headers({
    accept: "application/graphql-response+json, application/json",
    "content-type": "application/json",
  });
  for (const [name, value] of Object.entries(custom)) headers.set(name, value);
  return headers;
}

function answerOf({ status, statusText }, text) {
  try {
    const answer = JSON.parse(text);
    if (answer && typeof answer === "object") return answer;
  } catch {
    // told below
  }
  const message = `HTTP ${status} ${statusText}`.trim() + ": the answer is not a GraphQL response.";
  return { errors: [{ message, extensions: { body: text.slice(0, SHOWN_BODY_CHARACTERS) } }] };
}

/**
 * One connection per run: it carries the headers as they are now. No silent reconnects either,
 * since events between two connections would be missing from what is shown.
 */
function subscribe(url, params, headers) {
  const report = takeStatusLine();
  let count = 0;
  const events = newest(() => {
    unsubscribe();
    report("quiet", `Stopped after ${counted(count)}`);
  });
  const fail = (problem) => {
    if (events.fail(problem.errors ?? problem)) report("error", `${problem.summary} after ${counted(count)}`);
  };
  const client = connect(url, headers, {
    connected: () => report("live", "Live, waiting for the first event"),
    // Left to itself the client runs the operation again after a close with 1000.
    closed: (event) => {
      fail(closeProblem(event));
      unsubscribe();
    },
  });
  report("busy", "Connecting");
  const unsubscribe = client.subscribe(params, {
    next: (event) => {
      if (events.push(event)) report("live", `Live, ${counted(++count)}, the last at ${new Date().toLocaleTimeString()}`);
    },
    error: (error) => {
      if (Array.isArray(error)) fail({ errors: error, summary: "Failed" });
      else if (!(error instanceof Event)) fail({ message: error.message, summary: "Failed" });
    },
    complete: () => {
      if (events.end()) report("ok", `Completed after ${counted(count)}`);
    },
  });
  return events;
}

function connect(url, headers, on) {
  let silence;
  const client = createClient({
    url: Object.assign(new URL(url), { protocol: url.protocol === "https:" ? "wss:" : "ws:" }).href,
    connectionParams: headers,
    connectionAckWaitTimeout: ACK_TIMEOUT_MS,
    keepAlive: PING_EVERY_MS,
    retryAttempts: 0,
    on: {
      ping: (received) => {
        if (!received) silence = setTimeout(client.terminate, PONG_TIMEOUT_MS);
      },
      pong: (received) => received && clearTimeout(silence),
      connected: on.connected,
      closed: (event) => {
        clearTimeout(silence);
        on.closed(event);
      },
    },
  });
  return client;
}

function closeProblem({ code, reason }) {
  const summary = `Closed with ${code}${reason ? `: ${reason}` : ""}`;
  const message = [`The connection was closed with code ${code}${reason ? `: ${reason}` : ""}.`, CLOSE_HINTS[code]];
  return { summary, errors: [{ message: message.filter(Boolean).join(" "), extensions: { code, reason } }] };
}

function counted(events) {
  return events === 1 ? "1 event" : `${events} events`;
}
