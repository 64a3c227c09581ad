// POST /api/v1/subscribers: adds a subscriber to a waitlist, once.
import { randomBytes } from "node:crypto";
import * as api from "./api.mjs";
import { nextNumber, create, join, key, listShard, transact } from "./table.mjs";

const ALPHABET = "23456789BCDFGHJKLMNPQRSTVWXZ";
const FIELDS = [
  "waitlist_id",
  "email",
  "name",
  "referral_code",
  "metadata",
  "consent",
  "source",
  "fingerprint",
  "website",
];

/** Returns true if the domain or one of its parent domains is a disposable mail domain. */
function isDisposable(domain) {
  for (let at = 0; at !== -1; at = domain.indexOf(".", at)) {
    if (at > 0) at++;
    if (isListed(domain.slice(at))) return true;
  }
  return false;
}

// The build inserts a sorted text with one domain a line here. Filling a Set with the domains would take time at
// the start.
const LIST = DOMAINS;

function isListed(domain) {
  let [low, high] = [0, LIST.length];
  while (low < high) {
    const start = LIST.lastIndexOf("\n", (low + high) >> 1) + 1;
    const end = LIST.indexOf("\n", start);
    const line = LIST.slice(start, end);
    if (line === domain) return true;
    if (line < domain) low = end + 1;
    else high = start - 1;
  }
  return false;
}

/** Returns an id that sorts by time. */
function subscriberId(now) {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  return `sub_${api.encode(bytes)}`;
}

const referralCode = () => Array.from(randomBytes(8), (byte) => ALPHABET[byte % ALPHABET.length]).join("");

/** Returns the /24 or /48 network of an address. */
function network(ip) {
  if (ip.includes(".")) return `${ip.split(".").slice(0, 3).join(".")}.0/24`;
  return `${ip.split(":").slice(0, 3).join(":")}::/48`;
}

function parse({ body }) {
  for (const field of Object.keys(body)) if (!FIELDS.includes(field)) throw api.invalid(field, "is unknown");
  if (!api.isId(body.waitlist_id, "wl")) throw api.invalid("waitlist_id", "is not an id of the form wl_…");
  const email = api.email(body.email);
  if (email === undefined) throw api.invalid("email", "is not an address");
  const granted = typeof body.consent === "boolean" ? body.consent : body.consent?.granted;
  if (typeof granted !== "boolean") throw api.invalid("consent", "is neither true nor false");
  const metadata = body.metadata ?? {};
  if (typeof metadata !== "object" || Array.isArray(metadata)) throw api.invalid("metadata", "is not an object");
  const code = typeof body.referral_code === "string" ? body.referral_code.trim().toUpperCase() : "";
  return {
    waitlist: body.waitlist_id,
    email,
    name: api.bounded(body.name, 200, "name"),
    metadata: JSON.stringify(metadata),
    consent: { granted, text: api.bounded(body.consent.text, 500, "consent.text") ?? null },
    source: api.bounded(body.source, 64, "source"),
    device: api.bounded(body.fingerprint, 512, "fingerprint"),
    code: code.length === 8 && [...code].every((c) => ALPHABET.includes(c)) ? code : undefined,
    robot: Boolean(body.website),
  };
}

const view = (subscriber, waitlist, position) => ({
  id: subscriber.id,
  status: subscriber.status,
  position,
  total: position,
  referral_code: subscriber.referral_code,
  referral_url: waitlist.settings.page_url
    ? `${waitlist.settings.page_url}?ref=${subscriber.referral_code}`
    : `${process.env.PUBLIC_URL}/w/${waitlist.id}?ref=${subscriber.referral_code}`,
});

const withToken = (body, signingKey) => ({ ...body, token: api.token(signingKey, "st", body.id) });

function items(request, wanted, context, number, now) {
  const at = new Date(now).toISOString();
  const id = subscriberId(now);
  const { account, waitlist, signingKey, referrer, disposable } = context;
  const common = { account_id: account.id, waitlist_id: waitlist.id };
  const origin = {
    network: api.pseudonym(signingKey, "network", network(request.ip)),
    device: wanted.device ? api.pseudonym(signingKey, "device", wanted.device) : null,
  };
  const subscriber = {
    ...key(["SUB", id], ["CORE", "META"]),
    _type: "subscriber",
    GSI1PK: join("WLSUBS", waitlist.id, listShard(id)),
    GSI1SK: id,
    id,
    ...common,
    email: wanted.email.typed,
    name: wanted.name,
    metadata: wanted.metadata,
    consent: { ...wanted.consent, at },
    source: wanted.source,
    status: "active",
    referral_code: referralCode(),
    referred_by: referrer,
    number,
    referrals: 0,
    places: 0,
    disposable,
    origin,
    joined_at: at,
    active_at: at,
    mail_requests: 0,
    votes: 0,
    comments: 0,
    rev: 1,
  };
  const writes = [
    create(subscriber),
    create({ ...context.emailKey, _type: "email", waitlist_id: waitlist.id, hash: context.hash, subscriber_id: id }),
    create({
      ...key(["CODE", subscriber.referral_code]),
      _type: "referral_code",
      code: subscriber.referral_code,
      ...common,
      subscriber_id: id,
    }),
  ];
  if (referrer !== undefined) {
    const referral = `ref_${id.slice(4)}`;
    writes.push(
      create({
        ...key(["REF", referral]),
        _type: "referral",
        GSI1PK: join("REFERRER", referrer),
        GSI1SK: referral,
        GSI2PK: join("WLREFS", waitlist.id, "clear", listShard(referral)),
        GSI2SK: referral,
        id: referral,
        ...common,
        referrer_id: referrer,
        referee_id: id,
        status: "confirmed",
        places: 0,
        disposable,
        origin,
        assessment: { score: 0, reasons: [] },
        created_at: at,
        rev: 1,
      }),
    );
  }
  return { subscriber, writes };
}

async function subscribe(request) {
  const wanted = parse(request);
  if (wanted.robot) return { status: 202, headers: {}, body: { status: "pending" } };
  const owner = ["ACCT", request.account];
  const hash = api.sha256(wanted.email.identity);
  const emailKey = key(["EMAIL", wanted.waitlist, hash]);
  const list = ["WL", wanted.waitlist];
  const keys = [key(owner), key(owner, ["SIGNING"]), key(list), key(list, ["LEFT"]), emailKey];
  if (wanted.code) keys.push(key(["CODE", wanted.code]));
  const { items: found, before } = await api.lookUp(request, keys);
  const [account, signing, waitlist, left, existing, code] = found;
  if (!account || !signing || waitlist?.account_id !== account.id) throw api.notFound("There is no such waitlist.");
  api.requireOrigin(waitlist.settings.allowed_origins, request.headers);
  const signingKey = api.signingKey(signing);
  const { capacity } = waitlist.settings;
  const policy = waitlist.settings.email_policy;
  const disposable = policy !== "allow" && isDisposable(wanted.email.domain);
  const blocked = disposable && policy === "block";
  const open = waitlist.settings.status === "open" && !waitlist.deleting;
  const ahead = before === undefined && open && !blocked && existing === undefined && !capacity;
  const [headers, number] = await Promise.all([
    api.limit(request, signingKey, "join", account.limits.joins_per_ip_per_minute),
    ahead ? nextNumber(key(list, ["NUMBERS"]), "entered") : undefined,
  ]);
  if (before !== undefined) return { status: before.status, headers, body: withToken(before.body, signingKey) };
  if (!open) {
    throw new api.Problem(409, "waitlist-not-open", "The waitlist is not open");
  }
  if (blocked) {
    throw new api.Problem(422, "disposable-email", "Throw-away address");
  }
  if (waitlist.settings.verification_policy !== "none" || existing !== undefined) {
    throw new api.Problem(501, "not-implemented", "Not played by this peer");
  }
  if (capacity) throw new api.Problem(501, "not-implemented", "Not played by this peer");
  const position = Math.max(1, number - (left?.left ?? 0));
  const referrer = code?.waitlist_id === waitlist.id ? code.subscriber_id : undefined;
  const context = { account, waitlist, signingKey, referrer, disposable, emailKey, hash };
  const now = Date.now();
  const { subscriber, writes } = items(request, wanted, context, number, now);
  // The answer is stored without the token.
  const body = view(subscriber, waitlist, position);
  const location = `/api/v1/subscribers/${subscriber.id}`;
  const refused = await transact([...writes, ...api.remember(request, { status: 201, body, location }, now)]);
  if (refused.length > 0) throw api.conflict();
  headers.location = location;
  return { status: 201, headers, body: withToken(body, signingKey) };
}

export const handler = api.serve("/api/v1/subscribers", subscribe);
