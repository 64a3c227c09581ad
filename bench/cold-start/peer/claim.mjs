// POST /api/v1/distribute/{pool}: gives a user a code of a pool, once.
import { randomBytes, randomInt } from "node:crypto";
import * as api from "./api.mjs";
import { batchGet, create, get, join, key, listShard, query, remove, transact } from "./table.mjs";

const PATIENCE = 5000;
const SHARDS = ["0", "1", "2", "3", "4", "5", "6", "7"];
const PLATFORMS = ["ios", "android", "web", "universal"];
const FIELDS = ["user", "platform", "fingerprint", "reserve"];

/** Returns the lots with codes that are valid for a platform now, soonest expiry first. */
function serving(lots, platform, now) {
  return lots.filter((lot) => {
    const [, until, span, of] = /^(\d+)\+(\d+)@(\w+)$/.exec(lot);
    return (of === platform || of === "universal") && (Number(until) + Number(span)) * 1000 > now;
  });
}

/** Returns a code that can be claimed now, searching from a random place. */
async function pick(pool, lots, now) {
  const filter = {
    expression:
      "(attribute_not_exists(#held) OR #held <= :now) AND (attribute_not_exists(#valid) OR #valid > :now)",
    names: { "#held": "held_until", "#valid": "valid_until" },
    values: { ":now": now },
  };
  for (const lot of lots) {
    const [order, platform] = lot.split("@");
    const first = randomInt(SHARDS.length);
    const anywhere = randomBytes(16).toString("base64url").toLowerCase();
    for (let i = 0; i <= SHARDS.length; i++) {
      const shard = SHARDS[(first + i) % SHARDS.length];
      const after = join(order, `${shard}${i === 0 ? anywhere : ""}`);
      const found = await query(join("STOCK", pool, platform, shard), after, filter, 8);
      const own = found.filter((stock) => stock.lot === lot);
      if (own.length > 0) return own[randomInt(own.length)];
    }
  }
  return undefined;
}

function masked(code) {
  const characters = [...code];
  const shown = characters.length >= 12 ? 3 : characters.length >= 8 ? 2 : characters.length >= 4 ? 1 : 0;
  return `${characters.slice(0, shown).join("")}•••${characters.slice(characters.length - shown).join("")}`;
}

const view = (claim, code) => ({
  claim_id: claim.id,
  status: claim.status,
  code: code ? claim.code : null,
  masked_code: claim.masked,
  platform: claim.platform,
  expires_at: claim.valid_until ?? null,
  reserved_until: null,
});

function parse(request) {
  const pool = request.path.split("/").pop();
  if (!api.isId(pool, "pool")) throw api.notFound();
  const { body } = request;
  for (const field of Object.keys(body)) if (!FIELDS.includes(field)) throw api.invalid(field, "is unknown");
  const user = api.bounded(body.user ?? "", 256, "user").normalize("NFKC");
  const address = user.replace(/^@/, "").includes("@") ? api.email(user) : { identity: user };
  if (address === undefined) throw api.invalid("user", "is not an address");
  if (body.platform !== undefined && !PLATFORMS.includes(body.platform)) {
    throw api.invalid("platform", "is not ios, android, web or universal");
  }
  if (body.reserve) throw api.invalid("reserve", "is not played by this peer");
  return { pool, user: address.identity, device: api.bounded(body.fingerprint, 512, "fingerprint") };
}

/** Returns the id and the key of the user's claim. */
function place(wanted, signingKey) {
  const id = `claim_${wanted.pool.slice(5)}${api.numberOf(signingKey, ["claim", wanted.pool, wanted.user])}`;
  const number = id.slice(-26);
  return { id, number, claimKey: { PK: join("CLAIMS", wanted.pool, number[0]), SK: number } };
}

/** Reads the user's claim and a free code at the same time. The shelf was read with the pool. */
async function look(wanted, signingKey, platform, shelf) {
  const now = Date.now();
  const [previous, stock] = await Promise.all([
    get(place(wanted, signingKey).claimKey),
    shelf && pick(wanted.pool, serving(shelf.lots, platform, now), now),
  ]);
  return { previous, shelf, stock };
}

async function lookAgain(wanted, signingKey, platform) {
  const { claimKey } = place(wanted, signingKey);
  const [previous, shelf] = await batchGet([claimKey, key(["POOL", wanted.pool], ["SHELF"])]);
  const now = Date.now();
  const stock = shelf && (await pick(wanted.pool, serving(shelf.lots, platform, now), now));
  return { previous, shelf, stock };
}

async function allot(request, wanted, account, signingKey, platform, pool, first) {
  const { id, number, claimKey } = place(wanted, signingKey);
  const began = Date.now();
  let found = first;
  while (Date.now() < began + PATIENCE) {
    const { previous, shelf, stock } = found ?? (await lookAgain(wanted, signingKey, platform));
    found = undefined;
    if (previous?.status === "claimed") return { claim: previous, status: 200 };
    const now = Date.now();
    const { status, expires_at } = pool.settings;
    if (status === "completed") throw new api.Problem(409, "code-pool-completed", "The pool is over");
    if (expires_at && Date.parse(expires_at) <= now) throw new api.Problem(409, "code-pool-expired", "Expired");
    if (status === "paused") throw new api.Problem(409, "code-pool-paused", "The pool is paused");
    if (shelf === undefined) throw api.notFound();
    if (stock === undefined) throw new api.Problem(409, "codes-exhausted", "No codes left");
    const claim = {
      ...claimKey,
      _type: "claim",
      GSI1PK: join("USED", wanted.pool, listShard(id)),
      GSI1SK: join(String(now).padStart(15, "0"), number),
      id,
      pool_id: wanted.pool,
      account_id: account.id,
      user: api.pseudonym(signingKey, "user", wanted.user),
      device: wanted.device && api.pseudonym(signingKey, "device", wanted.device),
      by_server: !request.publishable,
      status: "claimed",
      code_id: stock.code_id,
      code: stock.code,
      masked: masked(stock.code),
      platform: stock.lot.split("@")[1],
      valid_until: stock.valid_until && new Date(stock.valid_until).toISOString(),
      lot: stock.lot,
      claimed_at: new Date(now).toISOString(),
      rev: 1,
    };
    // The answer is stored without the code.
    const answer = { status: 201, body: view(claim, false), location: `/api/v1/claims/${id}` };
    const refused = await transact([remove(stock), create(claim), ...api.remember(request, answer, now)]);
    if (refused.length === 0) return { claim, status: 201, location: answer.location };
    if (refused.includes(2)) throw api.conflict();
    // Another user took the code, or this user sent a concurrent request.
    await new Promise((resolve) => setTimeout(resolve, randomInt(25)));
  }
  throw new api.Problem(503, "unavailable", "The service is temporarily unavailable");
}

async function claim(request) {
  const wanted = parse(request);
  const owner = ["ACCT", request.account];
  const keys = [
    key(owner),
    key(owner, ["SIGNING"]),
    key(["POOL", wanted.pool]),
    key(["POOL", wanted.pool], ["SHELF"]),
  ];
  const { items, before } = await api.lookUp(request, keys);
  const [account, signing, pool, shelf] = items;
  if (!account || !signing || pool?.account_id !== account.id || pool.deleting) {
    throw api.notFound("There is no such code pool.");
  }
  api.requireOrigin(pool.settings.allowed_origins, request.headers);
  const signingKey = api.signingKey(signing);
  const platform = request.body.platform ?? pool.settings.platform;
  const [headers, first] = await Promise.all([
    api.limit(request, signingKey, "claim", account.limits.claims_per_ip_per_minute),
    before === undefined ? look(wanted, signingKey, platform, shelf) : undefined,
  ]);
  if (pool.settings.platform !== "universal" && platform !== pool.settings.platform) {
    throw new api.Problem(422, "wrong-platform", "Wrong platform", `The pool is for ${pool.settings.platform}.`);
  }
  headers["cache-control"] = "no-store";
  if (before !== undefined) {
    const number = before.body.claim_id.slice(-26);
    const [claim] = await batchGet([{ PK: join("CLAIMS", wanted.pool, number[0]), SK: number }]);
    return { status: before.status, headers, body: view(claim, true) };
  }
  const { claim, status, location } = await allot(request, wanted, account, signingKey, platform, pool, first);
  if (location) headers.location = location;
  return { status, headers, body: view(claim, true) };
}

export const handler = api.serve("/api/v1/distribute/{id}", claim);
