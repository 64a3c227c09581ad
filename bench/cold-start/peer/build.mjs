// Builds one minified file for each function, as it would be deployed.
import { build } from "esbuild";
import MailChecker from "mailchecker";

// The `module` builds of packages let esbuild omit unused parts; CommonJS builds would be included completely.
// The output is CommonJS because it starts faster than a module.
await build({
  entryPoints: ["claim.mjs", "join.mjs"],
  outdir: "dist",
  outExtension: { ".js": ".cjs" },
  bundle: true,
  minify: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  mainFields: ["module", "main"],
  define: { DOMAINS: JSON.stringify([...MailChecker.blacklist()].sort().join("\n") + "\n") },
  logLevel: "info",
});
