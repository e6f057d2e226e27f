// Bundles the playground into app/playground/dist: every file comes from here or from a package in package-lock.json.
import { build } from "esbuild";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

const OUT = "../app/playground/dist";
const SERVED_AT = "/graphql/assets/";
const PLACEHOLDER = '<script type="application/json" id="playground-config">{}</script>';

const WORKERS = {
  editor: "monaco-editor/esm/vs/editor/editor.worker.js",
  json: "monaco-editor/esm/vs/language/json/json.worker.js",
  graphql: "monaco-graphql/esm/graphql.worker.js",
};

// Packages that leave their licence's text out, and a neighbour of the same repository or author that has it.
const LICENCE_AT = {
  "@graphiql/plugin-doc-explorer": "graphiql",
  "@graphiql/plugin-history": "graphiql",
  "react-compiler-runtime": "react",
  "react-remove-scroll-bar": "react-remove-scroll",
};

// monaco-editor embeds this package's font without its licence, so the package is installed for the text.
const EMBEDDED = ["node_modules/@vscode/codicons"];

const leanMonaco = {
  name: "lean-monaco",
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^(\.|monaco-graphql\/esm)\/monaco-editor(\.js)?$/ }, () => ({ path: resolve("src/monaco.js") }));
    // styles.css takes monaco's style sheet whole; left to its modules each chunk would bring its own.
    onLoad({ filter: /monaco-editor\/esm\/.*\.css$/ }, () => ({ contents: "", loader: "empty" }));
  },
};

const common = {
  bundle: true,
  minify: true,
  metafile: true,
  outdir: OUT,
  target: ["es2022"],
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  loader: { ".ttf": "file", ".woff2": "file", ".svg": "copy" },
  assetNames: "[name]-[hash]",
  logLevel: "warning",
};

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });

const workers = await build({
  ...common,
  format: "iife",
  entryPoints: Object.entries(WORKERS).map(([label, input]) => ({ in: input, out: `${label}.worker` })),
  entryNames: "[name]-[hash]",
});

const page = await build({
  ...common,
  format: "esm",
  splitting: true,
  jsx: "automatic",
  entryPoints: [{ in: "src/main.jsx", out: "playground" }, { in: "src/icon.svg", out: "icon" }],
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  plugins: [leanMonaco],
  alias: {
    "prettier/parser-babel": "./src/jsonc.js",
    "prettier/plugins/estree": "./src/jsonc.js",
    "prettier/parser-graphql": "prettier/plugins/graphql",
  },
  define: { ...common.define, WORKER_FILES: JSON.stringify(workerFiles(workers.metafile)) },
});

writeFileSync(join(OUT, "index.html"), indexHtml(page.metafile));
writeFileSync(join(OUT, "LICENSES.txt"), licences([workers.metafile, page.metafile]));
report();

function workerFiles({ outputs }) {
  const fileOf = (label) => Object.keys(outputs).map((path) => basename(path)).find((file) => file.startsWith(`${label}.worker-`));
  return Object.fromEntries(Object.keys(WORKERS).map((label) => [label, `./${fileOf(label)}`]));
}

function indexHtml({ outputs }) {
  const [script, style, icon, monaco] = [/^playground-\w+\.js$/, /^playground-\w+\.css$/, /^icon-\w+\.svg$/, /^monaco-\w+\.js$/].map((name) =>
    Object.keys(outputs).find((output) => name.test(basename(output))),
  );
  const url = (output) => SERVED_AT + basename(output);
  const tags = [
    `<link rel="icon" type="image/svg+xml" href="${url(icon)}" />`,
    `<link rel="stylesheet" href="${url(style)}" />`,
    `<script type="module" src="${url(script)}"></script>`,
    ...needed(outputs, [script, monaco]).slice(1).map((output) => `<link rel="modulepreload" href="${url(output)}" />`),
  ];
  const html = readFileSync("src/index.html", "utf8").replace("<!-- assets -->", tags.join("\n    "));
  if (!html.includes(PLACEHOLDER)) throw new Error("src/index.html lacks the configuration's placeholder");
  return html;
}

function needed(outputs, files) {
  const found = new Set(files);
  for (const file of found) {
    for (const { path, kind } of outputs[file].imports) if (kind === "import-statement") found.add(path);
  }
  return [...found];
}

function licences(metafiles) {
  const inputs = metafiles.flatMap(({ inputs }) => Object.keys(inputs));
  const folders = [...new Set(inputs.map((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]).filter(Boolean))];
  const texts = [...folders, ...EMBEDDED].map(licenceOf).sort();
  return `The playground is built from these npm packages; each one's licence follows its name.\n\n${texts.join("\n")}`;
}

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const home = name in LICENCE_AT ? join("node_modules", LICENCE_AT[name]) : folder;
  const files = readdirSync(home).filter((file) => /^(licen[cs]e|copying|notice|thirdpartynotices)/i.test(file)).sort();
  if (files.length === 0) throw new Error(`${name} ${version} (${license}) comes without its licence's text`);
  const texts = files.map((file) => readFileSync(join(home, file), "utf8").trim());
  return `${"=".repeat(80)}\n${name} ${version} (${license})\n${"=".repeat(80)}\n${texts.join("\n\n")}\n`;
}

function report() {
  const files = readdirSync(OUT).map((file) => [readFileSync(join(OUT, file)).length, file]).sort(([a], [b]) => b - a);
  for (const [size, file] of files) console.log(String(size).padStart(9), file);
  console.log(String(files.reduce((sum, [size]) => sum + size, 0)).padStart(9), "in all");
}

