// The table: one client for all calls of a process, made at its start, with its connection kept open.
import {
  BatchGetItemCommand,
  DynamoDBClient,
  GetItemCommand,
  QueryCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent } from "node:https";

/** Number of slots in which a counter stores its latest numbers with their marks. */
const SLOTS = 8;
const { env } = process;
const TableName = env.TABLE_NAME;

// All settings are given here, so the first call reads no provider chain and no settings file.
const client = new DynamoDBClient({
  region: env.AWS_REGION,
  endpoint: env.AWS_ENDPOINT_URL_DYNAMODB,
  credentials: {
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    sessionToken: env.AWS_SESSION_TOKEN,
  },
  maxAttempts: 5,
  retryMode: "standard",
  defaultsMode: "standard",
  requestHandler: new NodeHttpHandler({
    connectionTimeout: 1000,
    requestTimeout: 5000,
    // Trusting only this certificate saves the process from parsing the 140 root certificates of Node.js.
    httpsAgent: new Agent({ keepAlive: true, maxSockets: 50, ca: readFileSync(env.AWS_CA_BUNDLE) }),
  }),
});

const OPTIONS = { removeUndefinedValues: true };

/** Joins segments to a key. Separators inside a segment are escaped. */
export const join = (...segments) =>
  segments.map((segment) => segment.replace(/[#%]/g, (c) => (c === "#" ? "%23" : "%25"))).join("#");

export const key = (pk, sk = ["META"]) => ({ PK: join(...pk), SK: join(...sk) });

/** Returns the shard of a list in an index that contains an id. */
export const listShard = (id) => {
  let sum = 0;
  for (let i = 0; i < id.length; i++) sum = (sum * 31 + id.charCodeAt(i)) & 255;
  return String(sum % 4);
};

/** Reads items by their keys. Returns them in the order of the keys, with undefined for a missing item. */
export async function batchGet(keys) {
  const found = new Map();
  let pending = { [TableName]: { Keys: keys.map((key) => marshall(key)), ConsistentRead: true } };
  while (pending?.[TableName]) {
    const output = await client.send(new BatchGetItemCommand({ RequestItems: pending }));
    for (const item of output.Responses?.[TableName] ?? []) {
      const plain = unmarshall(item);
      found.set(`${plain.PK} ${plain.SK}`, plain);
    }
    pending = output.UnprocessedKeys;
  }
  return keys.map(({ PK, SK }) => found.get(`${PK} ${SK}`));
}

export async function get(key) {
  const { Item } = await client.send(new GetItemCommand({ TableName, Key: marshall(key), ConsistentRead: true }));
  return Item && unmarshall(Item);
}

/** Updates an item. Returns the new item as `item`, or the present one as `old` if the condition failed. */
async function update(key, UpdateExpression, ConditionExpression, ExpressionAttributeNames, values) {
  try {
    const { Attributes } = await client.send(
      new UpdateItemCommand({
        TableName,
        Key: marshall(key),
        UpdateExpression,
        ConditionExpression,
        ExpressionAttributeNames,
        ExpressionAttributeValues: marshall(values),
        ReturnValues: "ALL_NEW",
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      }),
    );
    return { item: unmarshall(Attributes) };
  } catch (error) {
    if (error.name === "ConditionalCheckFailedException") return { old: error.Item ? unmarshall(error.Item) : {} };
    throw error;
  }
}

/** Takes the next number of a counter, once even if the SDK retries the call: a slot stores the call's mark. */
export async function nextNumber(key, counter) {
  const slot = randomInt(SLOTS);
  const { item, old } = await update(
    key,
    "SET #number = if_not_exists(#counter, :zero) + :one, #mark = :mark ADD #counter :one",
    "attribute_not_exists(#mark) OR #mark <> :mark",
    { "#counter": counter, "#number": `number${slot}`, "#mark": `mark${slot}` },
    { ":zero": 0, ":one": 1, ":mark": randomBytes(9).toString("base64url") },
  );
  return (item ?? old)[`number${slot}`];
}

/** Moves a clock forward by a step, from the later of now and its present time, but not beyond the latest. */
export async function moveClock(key, now, step, latest) {
  const names = { "#clock": "arrival", "#expires": "expires_at" };
  const expires = Math.floor(now / 1e6) + 180;
  const restart = () =>
    update(
      key,
      "SET #clock = :to, #expires = :expires",
      "attribute_not_exists(#clock) OR #clock <= :at",
      names,
      { ":to": now + step, ":at": now, ":expires": expires },
    );
  const goOn = () =>
    update(
      key,
      "SET #clock = #clock + :step, #expires = :expires",
      "#clock <= :latest",
      names,
      { ":step": step, ":latest": latest, ":expires": expires },
    );
  for (let move = restart; ; ) {
    const { item, old } = await move();
    if (item !== undefined) return { arrival: item.arrival, moved: true };
    if (old.arrival > latest) return { arrival: old.arrival, moved: false };
    move = old.arrival > now ? goOn : restart;
  }
}

/** Queries the items of a partition that pass a filter. */
export async function query(pk, after, filter, limit) {
  const { Items } = await client.send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: "#pk = :pk AND #sk > :sk",
      FilterExpression: filter.expression,
      ExpressionAttributeNames: { "#pk": "PK", "#sk": "SK", ...filter.names },
      ExpressionAttributeValues: marshall({ ":pk": pk, ":sk": after, ...filter.values }),
      Limit: limit,
      ConsistentRead: true,
      ScanIndexForward: true,
    }),
  );
  return Items.map((item) => unmarshall(item));
}

/** Returns a write of an item that must not exist yet. */
export const create = (item) => ({
  Put: {
    TableName,
    Item: marshall(item, OPTIONS),
    ConditionExpression: "attribute_not_exists(#pk)",
    ExpressionAttributeNames: { "#pk": "PK" },
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  },
});

/** Returns a write of an item that must not exist or must have expired, because DynamoDB deletes late. */
export const createOrRenew = (item, now) => ({
  Put: {
    TableName,
    Item: marshall(item, OPTIONS),
    ConditionExpression: "attribute_not_exists(#pk) OR #expires <= :now",
    ExpressionAttributeNames: { "#pk": "PK", "#expires": "expires_at" },
    ExpressionAttributeValues: marshall({ ":now": Math.floor(now / 1000) }),
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  },
});

/** Returns a deletion of an item that still has the revision which was read. */
export const remove = ({ PK, SK, rev }) => ({
  Delete: {
    TableName,
    Key: marshall({ PK, SK }),
    ConditionExpression: "#rev = :rev",
    ExpressionAttributeNames: { "#rev": "rev" },
    ExpressionAttributeValues: marshall({ ":rev": rev }),
  },
});

/** Makes the writes in one transaction. Returns the positions of the writes whose condition failed. */
export async function transact(writes) {
  try {
    await client.send(new TransactWriteItemsCommand({ TransactItems: writes }));
    return [];
  } catch (error) {
    if (error.name !== "TransactionCanceledException") throw error;
    const refused = error.CancellationReasons.flatMap(({ Code }, i) => (Code === "ConditionalCheckFailed" ? [i] : []));
    if (refused.length === 0) throw error;
    return refused;
  }
}
