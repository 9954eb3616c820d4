import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

// Of everything that the bundle is made from: a test compares it, so that nobody forgets to build.
function hashOfSources() {
  const hash = createHash("sha256");
  for (const folder of ["src", "public", "."]) {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (!entry.isFile()) continue;
      hash.update(`${folder}/${entry.name}\0`).update(readFileSync(join(folder, entry.name))).update("\0");
    }
  }
  return hash.digest("hex");
}

const stamp = {
  name: "stamp",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${hashOfSources()}\n` });
  },
};

// Everything is served by the GraphQL process under /console/, and nothing comes from elsewhere.
export default defineConfig({
  base: "/console/",
  plugins: [stamp],
  build: {
    outDir: "../graphql_api/console",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 10_000,
    license: { fileName: "licenses.md" },
  },
  worker: { format: "es" },
});
