// Shared parts of the claim and the join: the event's principal, problems, rate limit, idempotency, secrets.
import { createHash, createHmac } from "node:crypto";
import { batchGet, createOrRenew, key, moveClock } from "./table.mjs";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** Refusal in the form of RFC 9457. */
export class Problem extends Error {
  constructor(status, slug, title, detail) {
    super(title);
    Object.assign(this, { status, slug, detail });
  }
}

export const notFound = (detail) => new Problem(404, "not-found", "Not found", detail);
export const conflict = () => new Problem(409, "conflict", "Changed meanwhile");
export const invalid = (field, reason) =>
  new Problem(422, "validation-failed", "Validation failed", `${field} ${reason}`);

export const sha256 = (text) => createHash("sha256").update(text).digest("base64url");

const sign = (signingKey, parts) =>
  createHmac("sha256", signingKey).update(parts.map((part) => `${Buffer.byteLength(part)}:${part}`).join(",")).digest();

/** Returns the account's signing key from its item. */
export const signingKey = (item) => Buffer.from(item.signing_key, "base64url");

/** Returns a stable pseudonym for a value that must not be stored. */
export const pseudonym = (signingKey, purpose, value) =>
  sign(signingKey, ["pseudonym", purpose, value]).subarray(0, 12).toString("base64url");

/** Encodes 128 bits as the 26 characters of a ULID. */
export function encode(bytes) {
  let number = BigInt(`0x${bytes.toString("hex")}`);
  let text = "";
  for (let i = 0; i < 26; i++) {
    text = ALPHABET[Number(number & 31n)] + text;
    number >>= 5n;
  }
  return text;
}

/** Derives an id from its parts, for example a claim's id from the pool and the user, with the account's key. */
export const numberOf = (signingKey, parts) => encode(sign(signingKey, parts).subarray(0, 16));

/** Returns a token that is verified with the account's key. */
export const token = (signingKey, purpose, subject) =>
  `${purpose}.${subject}.0.${sign(signingKey, [purpose, subject, "0"]).toString("base64url")}`;

export const isId = (text, prefix) =>
  typeof text === "string" && new RegExp(`^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`).test(text);

/** Parses an email address. All spellings of a mailbox have one identity. */
export function email(typed) {
  const text = typeof typed === "string" ? typed.trim() : "";
  const at = text.lastIndexOf("@");
  const local = text.slice(0, at);
  const atoms = /^[\w!#$%&'*+\-/=?^`{|}~]+(\.[\w!#$%&'*+\-/=?^`{|}~]+)*$/;
  if (at < 1 || text.length > 254 || local.length > 64 || !atoms.test(local) || local.startsWith("+")) return undefined;
  const domain = text.slice(at + 1).toLowerCase();
  if (!/^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*$/.test(domain)) return undefined;
  const name = local.toLowerCase().split("+")[0];
  const gmail = domain === "gmail.com" || domain === "googlemail.com";
  const identity = gmail ? `${name.replaceAll(".", "")}@gmail.com` : `${name}@${domain}`;
  return { typed: text, domain, identity };
}

/** Checks a text of limited length without control or invisible characters. */
export function bounded(text, most, field) {
  if (text === undefined || text === null) return undefined;
  const trimmed = typeof text === "string" ? text.trim() : "";
  if (trimmed === "" || [...trimmed].length > most) throw invalid(field, `is not 1–${most} characters`);
  if (/[\p{Cc}\u00ad\u061c\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff]/u.test(trimmed)) {
    throw invalid(field, "has control or invisible characters");
  }
  return trimmed;
}

/** Returns the caller, the caller's address and the request of an event. */
function request(event) {
  const headers = {};
  for (const [name, value] of Object.entries(event.headers ?? {})) headers[name.toLowerCase()] = value;
  const { authorizer, identity, requestId } = event.requestContext;
  if (authorizer?.principal_kind === undefined) throw new Problem(401, "unauthorized", "Authentication required");
  if (!/^application\/json\b/.test(headers["content-type"] ?? "")) {
    throw new Problem(415, "unsupported-media-type", "Not JSON");
  }
  const raw = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : (event.body ?? "{}");
  let body;
  try {
    body = JSON.parse(raw);
  } catch (error) {
    throw new Problem(400, "malformed-json", "Malformed JSON", error.message);
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) throw invalid("body", "is not a JSON object");
  const idempotencyKey = headers["idempotency-key"];
  if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,255}$/.test(idempotencyKey)) {
    throw invalid("Idempotency-Key", "is not 1–255 visible ASCII characters");
  }
  return {
    account: authorizer.account_id,
    principal: authorizer.principal_id,
    publishable: authorizer.principal_kind === "publishable_key",
    scopes: authorizer.scopes,
    ip: identity.sourceIp,
    id: requestId,
    path: event.path,
    body,
    headers,
    idempotency: idempotencyKey && {
      key: idempotencyKey,
      request: sha256(`${event.httpMethod} ${event.path}\n${raw}`),
    },
  };
}

/** Refuses a page whose origin is not allowed. An empty list allows all origins. */
export function requireOrigin(allowed, headers) {
  if (headers.origin !== undefined && allowed.length > 0 && !allowed.includes(headers.origin)) {
    throw new Problem(403, "origin-not-allowed", "Origin not allowed");
  }
}

/** Counts a request against a limit per minute, by the generic cell rate algorithm in microseconds. */
export async function limit(request, signingKey, name, most) {
  if (!request.publishable) return {};
  const caller = pseudonym(signingKey, "ip", request.ip);
  const now = Date.now() * 1000;
  const interval = Math.ceil(60_000_000 / most);
  const period = interval * most;
  const at = key(["RATE", request.account, name, caller]);
  const { arrival, moved } = await moveClock(at, now, interval, now + period - interval);
  if (!moved) throw new Problem(429, "rate-limited", "Too many requests", `At most ${most} a minute.`);
  const remaining = Math.floor(Math.max(0, period - (arrival - now)) / interval);
  const reset = Math.ceil((arrival - now) / 1e6);
  return {
    "ratelimit-policy": `"minute";q=${most};w=60`,
    ratelimit: `"minute";r=${remaining};t=${reset}`,
    "x-ratelimit-limit": String(most),
    "x-ratelimit-remaining": String(remaining),
    "x-ratelimit-reset": String(reset),
  };
}

const recordKey = ({ account, principal, idempotency }) => key(["IDEM", account, principal, idempotency.key]);

/** Reads items, and in the same call the stored answer to an earlier request with the same idempotency key. */
export async function lookUp(request, keys) {
  const wanted = request.idempotency === undefined ? keys : [...keys, recordKey(request)];
  const found = await batchGet(wanted);
  return { items: found.slice(0, keys.length), before: answerOf(request, found[keys.length]) };
}

function answerOf(request, record) {
  if (record === undefined || record.expires_at <= Date.now() / 1000) return undefined;
  if (record.request !== request.idempotency.request) {
    throw new Problem(422, "idempotency-key-reused", "Key used for another request");
  }
  return { status: record.status, body: JSON.parse(record.body), location: record.location };
}

/** Returns the write that stores an answer, as part of the request's transaction. */
export function remember(request, answer, now) {
  if (request.idempotency === undefined) return [];
  const { account, principal, idempotency } = request;
  const item = {
    ...recordKey(request),
    _type: "idempotency",
    account_id: account,
    principal,
    idempotency_key: idempotency.key,
    request: idempotency.request,
    status: answer.status,
    body: JSON.stringify(answer.body),
    location: answer.location,
    at: new Date(now).toISOString(),
    expires_at: Math.floor(now / 1000) + 86_400,
  };
  return [createOrRenew(item, now)];
}

const CORS = {
  vary: "Origin",
  "access-control-expose-headers":
    "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id",
};

/** Makes a Lambda handler for API Gateway. Logs one line a request, without personal data. */
export const serve = (route, respond) => async (event) => {
  const started = performance.now();
  const id = event.requestContext?.requestId;
  let status, headers, body, problem;
  try {
    const asked = request(event);
    ({ status, headers, body } = await respond(asked));
    if (asked.headers.origin !== undefined) headers["access-control-allow-origin"] = asked.headers.origin;
    headers["content-type"] = "application/json";
  } catch (error) {
    const known = error instanceof Problem;
    if (!known) console.error(JSON.stringify({ level: "ERROR", cause: String(error), message: "request failed" }));
    status = known ? error.status : 500;
    problem = known ? error.slug : "internal-error";
    headers = { "content-type": "application/problem+json" };
    body = {
      type: `https://groundswell.dev/problems/${problem}`,
      title: known ? error.message : "Internal error",
      status,
      detail: error.detail,
      request_id: id,
    };
  }
  console.log(
    JSON.stringify({
      level: "INFO",
      message: "served",
      request_id: id,
      method: event.httpMethod,
      route,
      status,
      problem,
      micros: Math.round((performance.now() - started) * 1000),
    }),
  );
  return {
    statusCode: status,
    headers: { ...CORS, ...headers, "x-request-id": id },
    body: JSON.stringify(body),
    isBase64Encoded: false,
  };
};
