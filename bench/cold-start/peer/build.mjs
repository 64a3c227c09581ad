// One minified file a function, as it would be deployed.
import { build } from "esbuild";
import MailChecker from "mailchecker";

// Its parts, by the `module` of their packages, are left out where they are not used; of CommonJS all would
// be in. As CommonJS the result starts faster than as a module.
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
