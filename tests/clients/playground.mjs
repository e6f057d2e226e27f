// Drives the playground in a real browser and prints one JSON line with what it saw; exit code 0 or 1.
//
//   BASE_URL=http://127.0.0.1:8000 SCREENSHOT=/somewhere/playground.png [TOKEN=...] node playground.mjs
//
// The first operation of the page's configuration must be a query (or mutation) and one of them a subscription;
// a page without operations runs QUERY and SUBSCRIPTION instead. With TOKEN the headers editor is set to it,
// without it the page's own headers serve. TRIGGER, a mutation with TRIGGER_VARIABLES (JSON), is posted once the
// subscription is live, to cause an event. Screenshots: SCREENSHOT and, of the subscription, <name>-live.<ext>.
import { strict as assert } from "node:assert";
import { parse } from "node:path";
import { chromium } from "playwright-core";

const {
  BASE_URL,
  SCREENSHOT,
  TOKEN,
  CHROMIUM = "/usr/bin/chromium",
  QUERY = "query Viewer { viewer { id scopes } }",
  SUBSCRIPTION = "subscription Stats { executionStats { total } }",
  TRIGGER,
  TRIGGER_VARIABLES = "{}",
  TIMEOUT_MS = "20000",
} = process.env;

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

assert.ok(BASE_URL && SCREENSHOT, "BASE_URL and SCREENSHOT are needed");

const timeout = Number(TIMEOUT_MS);
const seen = { title: null, policy: null, requests: 0, outside: [], console: [], workers: [], sockets: [] };

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
try {
  await run(await newPage());
} catch (error) {
  seen.failure = String(error.message).split("\n")[0];
} finally {
  await browser.close();
}
seen.ok = !seen.failure;
console.log(JSON.stringify({ ...seen, sockets: seen.sockets.map((payload) => Object.keys(payload ?? {})) }));
process.exitCode = seen.ok ? 0 : 1;

async function newPage() {
  const context = await browser.newContext({ viewport: { width: 1400, height: 850 } });
  const page = await context.newPage();
  page.setDefaultTimeout(timeout);
  context.on("request", (request) => watch(request.url()));
  page.on("console", (message) => message.type() === "error" && complain(message.text()));
  page.on("pageerror", (error) => complain(error.message));
  page.on("websocket", (socket) => {
    watch(socket.url());
    socket.on("framesent", ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === "connection_init") seen.sockets.push(message.payload);
    });
  });
  return page;
}

// The browser logs every 401, also those that this script causes; where one matters the answer tells.
function complain(text) {
  if (!text.includes("status of 401")) seen.console.push(text);
}

function watch(url) {
  const { host, protocol } = new URL(url);
  if (["data:", "blob:"].includes(protocol)) return;
  seen.requests += 1;
  if (host !== new URL(BASE_URL).host) seen.outside.push(url);
}

async function run(page) {
  await open(page);
  seen.query = await runQuery(page);
  seen.event = await runSubscription(page);
  seen.workers = page.workers().map((worker) => new URL(worker.url()).pathname);
  assert.ok(seen.workers.some((path) => path.includes("graphql.worker")), "GraphQL's language worker did not start");
  seen.stopped = await stop(page);
  await checkFreshHeaders(page);
  seen.rejected = await runWithoutToken(page);
  assert.deepEqual(seen.outside, [], "a request left the server");
  assert.deepEqual(seen.console, [], "the console has errors");
}

async function open(page) {
  const answer = await page.goto(`${BASE_URL}/graphql`);
  seen.policy = answer.headers()["content-security-policy"] ?? null;
  await page.locator(".graphiql-query-editor .view-line").first().waitFor();
  await page.waitForFunction(hasEditors, ["operation.graphql", "request-headers.json", "response.json"]);
  seen.title = await page.title();
  assert.equal(seen.title, "temporal-graphql");
  if (!TOKEN) return;
  await editText(page, "request-headers.json", JSON.stringify({ Authorization: `Bearer ${TOKEN}` }, null, 2));
  await page.waitForTimeout(1_000); // new headers fetch the schema anew; its failure would take the response pane
}

function hasEditors(files) {
  const models = globalThis.__MONACO?.editor.getModels() ?? [];
  return files.every((file) => models.some(({ uri }) => uri.path.endsWith(file)));
}

async function runQuery(page) {
  const operations = await configuredOperations(page);
  if (operations.length === 0) await editText(page, "operation.graphql", QUERY);
  const answer = await execute(page, hasResult);
  assert.ok(answer.data && !answer.errors, `the query failed: ${JSON.stringify(answer)}`);
  await shown(page, Object.keys(answer.data)[0]);
  await page.screenshot({ path: SCREENSHOT });
  return answer;
}

async function runSubscription(page) {
  const operations = await configuredOperations(page);
  const index = operations.findIndex(({ query }) => /\bsubscription\b/.test(query));
  if (index >= 0) await page.locator(`#graphiql-session-tab-${index}`).click();
  else await editText(page, "operation.graphql", SUBSCRIPTION);
  const event = await execute(page, hasResult, trigger);
  assert.ok(event.data && !event.errors, `the subscription failed: ${JSON.stringify(event)}`);
  await shown(page, Object.keys(event.data)[0]);
  const { dir, name, ext } = parse(SCREENSHOT);
  await page.screenshot({ path: `${dir || "."}/${name}-live${ext}` });
  return event;
}

async function stop(page) {
  const button = page.locator(".graphiql-execute-button");
  if ((await button.getAttribute("aria-label")).startsWith("Stop")) await button.click();
  await page.locator(".status-line", { hasText: /^(Stopped|Completed)/ }).waitFor();
  return page.locator(".status-line").textContent();
}

async function checkFreshHeaders(page) {
  const headers = { ...JSON.parse(await text(page, "request-headers.json")), "X-Playground-Check": "fresh" };
  const connections = seen.sockets.length;
  await editText(page, "request-headers.json", JSON.stringify(headers));
  await page.locator(".graphiql-execute-button").click();
  await waitUntil(() => seen.sockets.length > connections, "the second subscription opened no connection");
  assert.deepEqual(seen.sockets.at(-1), headers, "the second subscription was sent stale headers");
  await page.locator(".status-line[data-tone=live], .status-line[data-tone=ok]").waitFor();
  await stop(page);
}

async function runWithoutToken(page) {
  await page.locator("#graphiql-session-tab-0").click();
  if ((await configuredOperations(page)).length === 0) await editText(page, "operation.graphql", QUERY);
  await editText(page, "request-headers.json", "{}");
  const answer = await execute(page, hasResult);
  assert.ok(answer.errors?.[0].message, "the refusal has no message");
  return { errors: answer.errors, status: await page.locator(".status-line").textContent() };
}

async function execute(page, isComplete, onceLive = () => {}) {
  await page.waitForTimeout(300); // GraphiQL reads its editors 100 ms after a change
  await page.locator(".graphiql-execute-button").click();
  await Promise.all([onceLive(page), waitUntil(async () => isComplete(await response(page)), "the response pane stayed empty")]);
  return response(page);
}

function hasResult(body) {
  return "data" in body || "errors" in body;
}

async function trigger(page) {
  if (!TRIGGER) return;
  await page.locator(".status-line[data-tone=live]").waitFor();
  const answer = await fetch(`${BASE_URL}/graphql`, {
    method: "POST",
    headers: { ...JSON.parse(await text(page, "request-headers.json")), "content-type": "application/json" },
    body: JSON.stringify({ query: TRIGGER, variables: JSON.parse(TRIGGER_VARIABLES) }),
    signal: AbortSignal.timeout(timeout),
  });
  const body = await answer.json();
  assert.ok(!body.errors, `the trigger failed: ${JSON.stringify(body)}`);
}

async function response(page) {
  return JSON.parse((await text(page, "response.json")) || "{}");
}

function shown(page, word) {
  return page.locator(".result-window .view-lines", { hasText: word }).waitFor();
}

async function configuredOperations(page) {
  const { operations = [] } = JSON.parse(await page.locator("#playground-config").textContent());
  return operations;
}

function text(page, file) {
  return page.evaluate((name) => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(name)).getValue(), file);
}

function editText(page, file, value) {
  return page.evaluate(
    ([name, content]) => globalThis.__MONACO.editor.getModels().find(({ uri }) => uri.path.endsWith(name)).setValue(content),
    [file, value],
  );
}

async function waitUntil(isTrue, complaint) {
  const deadline = Date.now() + timeout;
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(complaint);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
