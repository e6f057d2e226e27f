globalThis.MonacoEnvironment = {
  getWorker: (_moduleId, label) => new Worker(new URL(WORKER_FILES[label] ?? WORKER_FILES.editor, import.meta.url), { name: label }),
};
