// Audits a server with graphql-http's own list and prints one JSON line: how many audits there are, and which failed.
//
//   URL=http://127.0.0.1:8000/graphql TOKEN=... node audits.mjs
import { auditServer } from "graphql-http";

const { URL: url, TOKEN } = process.env;

const results = await auditServer({ url, fetchFn: authorized });
const failed = results.filter(({ status }) => status !== "ok");
console.log(JSON.stringify({ count: results.length, failed: failed.map(({ id, name, reason }) => ({ id, name, reason })) }));
process.exit(0);

function authorized(address, { headers, ...more } = {}) {
  return fetch(address, { ...more, headers: { ...headers, authorization: `Bearer ${TOKEN}` } });
}
